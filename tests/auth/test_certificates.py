"""The built-in authority. Oracle beside our own reading: the openssl command line."""

import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from hub.auth.certificates import (
    Authority,
    DamagedCredential,
    SignerCredential,
    UnusableIdentity,
    WrongPassword,
    create_authority,
    issue_signer,
    issued_by,
    open_authority,
    rewrap_key,
    seal_authority,
    unlock_key,
)
from hub.errors import Forbidden
from tests.fixtures.peers import require_peer

NOW = datetime(2026, 11, 21, 2, 30, tzinfo=UTC)
PASSWORD = "读片 correct horse"
NOT_ENCRYPTED = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return create_authority("连州市影像心电中心 CA", now=NOW)


@pytest.fixture(scope="module")
def credential(authority: Authority) -> SignerCredential:
    return issue_signer(
        authority,
        common_name="𠮷田䶮",
        login="jitian",
        organisation="连州市人民医院",
        password=PASSWORD,
        now=NOW,
    )


class TestAuthority:
    def test_may_issue_certificates_for_twenty_years_and_nothing_below_it_may(self, authority):
        certificate = authority.certificate
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        assert (constraints.ca, constraints.path_length) == (True, 0)
        assert usage.key_cert_sign
        assert not usage.digital_signature
        assert (certificate.not_valid_after_utc - NOW).days in range(7300, 7306)

    def test_opens_again_under_its_passphrase_only(self, authority):
        sealed = seal_authority(authority, "口令 passphrase")
        assert b"ENCRYPTED PRIVATE KEY" in sealed
        opened = open_authority(authority.certificate_pem, sealed, "口令 passphrase")
        assert opened.private_key.private_numbers() == authority.private_key.private_numbers()
        with pytest.raises(WrongPassword):
            open_authority(authority.certificate_pem, sealed, "passphrase")

    def test_refuses_a_certificate_of_another_authority(self, authority):
        sealed = seal_authority(authority, "x")
        with pytest.raises(DamagedCredential):
            open_authority(create_authority("other").certificate_pem, sealed, "x")

    def test_does_not_show_its_key_when_printed(self, authority):
        assert "private" not in repr(authority).lower()


class TestSigner:
    def test_carries_names_usages_and_dates(self, authority, credential):
        certificate = x509.load_pem_x509_certificate(credential.certificate_pem)
        subject = {attribute.oid: attribute.value for attribute in certificate.subject}
        assert subject == {
            NameOID.COMMON_NAME: "𠮷田䶮",
            NameOID.ORGANIZATION_NAME: "连州市人民医院",
            NameOID.USER_ID: "jitian",
        }
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert usage.digital_signature
        assert usage.content_commitment
        assert not usage.key_cert_sign
        assert "1.3.6.1.5.5.7.3.36" in {oid.dotted_string for oid in purposes}
        assert credential.not_before <= NOW < credential.not_after
        assert int(credential.serial, 16) == certificate.serial_number
        assert issued_by(credential.certificate_pem, authority.certificate_pem)

    def test_is_not_taken_for_a_certificate_of_an_authority_of_the_same_name(self, credential):
        twin = create_authority("连州市影像心电中心 CA", now=NOW)
        assert not issued_by(credential.certificate_pem, twin.certificate_pem)
        assert not issued_by(b"garbage", twin.certificate_pem)

    def test_ends_no_later_than_its_authority(self, authority):
        late = NOW + timedelta(days=365 * 19 + 200)
        credential = issue_signer(
            authority, common_name="A", login="a", organisation="B", password="p", now=late
        )
        assert credential.not_after == authority.certificate.not_valid_after_utc
        with pytest.raises(UnusableIdentity):
            issue_signer(
                authority,
                common_name="A",
                login="a",
                organisation="B",
                password="p",
                now=NOW + timedelta(days=8000),
            )

    @pytest.mark.parametrize("name", ["", "  ", "长" * 65])
    def test_refuses_names_no_certificate_can_carry(self, authority, name):
        with pytest.raises(UnusableIdentity):
            issue_signer(authority, common_name=name, login="a", organisation="B", password="p", now=NOW)

    def test_needs_a_password(self, authority):
        with pytest.raises(UnusableIdentity):
            issue_signer(authority, common_name="A", login="a", organisation="B", password="", now=NOW)


class TestPrivateKey:
    @pytest.mark.parametrize("guess", ["", "wrong", PASSWORD + " ", PASSWORD.upper()])
    def test_stays_shut_for_any_other_password(self, credential, guess):
        with pytest.raises(WrongPassword) as refusal:
            unlock_key(credential, guess)
        assert isinstance(refusal.value, Forbidden)
        assert refusal.value.__cause__ is None

    def test_moves_to_a_new_password_and_leaves_the_old_one(self, credential):
        moved = rewrap_key(credential, PASSWORD, "新口令")
        assert (
            unlock_key(moved, "新口令").private_numbers()
            == unlock_key(credential, PASSWORD).private_numbers()
        )
        assert moved.certificate_pem == credential.certificate_pem
        with pytest.raises(WrongPassword):
            unlock_key(moved, PASSWORD)
        with pytest.raises(WrongPassword):
            rewrap_key(credential, "wrong", "x")

    @pytest.mark.parametrize(
        "pem", [b"", b"garbage", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
    )
    def test_damage_is_not_called_a_wrong_password(self, credential, pem):
        damaged = SignerCredential(
            credential.certificate_pem, pem, credential.serial, credential.not_before, credential.not_after
        )
        with pytest.raises(DamagedCredential):
            unlock_key(damaged, PASSWORD)

    @pytest.mark.usefixtures("real_costs")
    def test_each_guess_costs_an_attacker_what_it_should(self, authority) -> None:
        """OWASP's Password Storage Cheat Sheet asks for 600,000 rounds of PBKDF2-HMAC-SHA-256 (2023)."""
        from asn1crypto import keys, pem

        made = issue_signer(
            authority, common_name="罗心电", login="luo", organisation="医院", password=PASSWORD, now=NOW
        )
        info = keys.EncryptedPrivateKeyInfo.load(pem.unarmor(made.encrypted_key_pem)[2])
        assert info["encryption_algorithm"].kdf == "pbkdf2"
        assert info["encryption_algorithm"].kdf_hmac == "sha256"
        assert info["encryption_algorithm"].kdf_iterations >= 600_000

    def test_openssl_opens_the_wrapped_key_and_finds_the_certificates_public_key(self, credential, tmp_path):
        openssl = require_peer("openssl")
        (tmp_path / "key.pem").write_bytes(credential.encrypted_key_pem)
        (tmp_path / "signer.pem").write_bytes(credential.certificate_pem)
        (tmp_path / "password").write_text(PASSWORD + "\n", encoding="utf-8")
        from_key = subprocess.run(
            [openssl, "pkey", "-in", "key.pem", "-passin", "file:password", "-pubout"],
            cwd=tmp_path, capture_output=True, text=True, check=True,
        )  # fmt: skip
        from_certificate = subprocess.run(
            [openssl, "x509", "-in", "signer.pem", "-pubkey", "-noout"],
            cwd=tmp_path, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert from_key.stdout == from_certificate.stdout

    def test_openssl_reads_the_certificate_chain(self, authority, credential, tmp_path):
        openssl = require_peer("openssl")
        (tmp_path / "ca.pem").write_bytes(authority.certificate_pem)
        (tmp_path / "signer.pem").write_bytes(credential.certificate_pem)
        moment = str(int(NOW.timestamp()))
        done = subprocess.run(
            [openssl, "verify", "-x509_strict", "-attime", moment, "-CAfile", "ca.pem", "signer.pem"],
            cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
        assert done.stdout.strip() == "signer.pem: OK", done.stderr
