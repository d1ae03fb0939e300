"""Signed reports. Oracle beside pyHanko, which the hub itself uses: poppler's pdfsig over NSS."""

import io
import random
import re
import socket
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from hub.auth.certificates import WrongPassword, create_authority, issue_signer
from hub.reports.document import render_report
from hub.reports.sign import (
    PROBLEMS,
    AlreadySigned,
    CertificateNotValid,
    SignatureStatus,
    sign_pdf,
    verify_pdf,
)
from tests.fixtures.peers import require_peer
from tests.fixtures.report_samples import RARE_NAME, report

NOW = datetime.now(UTC).replace(microsecond=0)
PASSWORD = "医生的口令"


@pytest.fixture(scope="module")
def authority():
    return create_authority("连州市影像心电中心 CA", now=NOW - timedelta(days=1))


@pytest.fixture(scope="module")
def credential(authority):
    return issue_signer(
        authority,
        common_name=RARE_NAME,
        login="yijingzhi",
        organisation="连州市人民医院",
        password=PASSWORD,
        now=NOW,
    )


@pytest.fixture(scope="module")
def unsigned():
    return render_report(report())


@pytest.fixture(scope="module")
def signed(unsigned, credential):
    return sign(unsigned, credential)


@pytest.fixture(scope="module")
def pdfsig(authority, tmp_path_factory):
    """Poppler's verifier, told to believe the hub's authority."""
    program, certutil = require_peer("pdfsig"), require_peer("certutil")
    folder = tmp_path_factory.mktemp("nss")
    (folder / "ca.pem").write_bytes(authority.certificate_pem)
    database = f"sql:{folder}"
    subprocess.run([certutil, "-N", "-d", database, "--empty-password"], check=True)
    subprocess.run(
        [certutil, "-A", "-d", database, "-n", "hub", "-t", ",C,", "-i", folder / "ca.pem"], check=True
    )

    def run(pdf):
        (folder / "report.pdf").write_bytes(pdf)
        done = subprocess.run(
            [program, "-nssdir", database, "report.pdf"], cwd=folder, capture_output=True, timeout=30
        )
        return done.stdout.decode(errors="replace")

    return run


def sign(pdf, credential, signed_at=NOW, password=PASSWORD):
    return sign_pdf(pdf, credential, password, reason="审核签发", location="连州市", signed_at=signed_at)


def flipped(pdf, offset, mask=0x01):
    changed = bytearray(pdf)
    changed[offset] ^= mask
    return bytes(changed)


def contents_of(pdf):
    """Return start and end of the hexadecimal digits that hold the signature, padding included."""
    numbers = re.search(rb"/ByteRange \[(\d+) (\d+) (\d+) (\d+)\]", pdf)
    return int(numbers[2]) + 1, int(numbers[3]) - 1


class TestGoodSignature:
    def test_holds_in_every_respect(self, signed, authority, credential):
        assert verify_pdf(signed, [authority.certificate_pem]) == SignatureStatus(
            present=True,
            intact=True,
            valid=True,
            trusted=True,
            covers_whole_document=True,
            signer_name=RARE_NAME,
            signer_serial=credential.serial,
            signed_at=NOW,
            problems=(),
        )

    def test_pdfsig_agrees(self, signed, pdfsig):
        said = pdfsig(signed)
        assert "Signature is Valid." in said
        assert "Certificate is Trusted." in said
        assert "Total document signed" in said
        assert "ETSI.CAdES.detached" in said
        assert f"Signer Certificate Common Name: {RARE_NAME}" in said

    def test_leaves_the_unsigned_bytes_where_they_were(self, signed, unsigned):
        assert signed.startswith(unsigned)

    def test_shows_the_same_page_and_fonts(self, signed, tmp_path):
        (tmp_path / "signed.pdf").write_bytes(signed)
        text = subprocess.run(
            [require_peer("pdftotext"), "signed.pdf", "-"], cwd=tmp_path, capture_output=True, check=True
        ).stdout.decode()
        assert RARE_NAME in text
        assert "右下肺斑片影" in text
        fonts = subprocess.run(
            [require_peer("pdffonts"), "signed.pdf"], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout.splitlines()[2:]
        assert fonts
        assert all(line.split()[-5] == "yes" for line in fonts)

    def test_stays_valid_after_the_certificate_has_expired(self, unsigned):
        then = datetime(2015, 6, 1, 8, 0, tzinfo=UTC)
        old = create_authority("旧 CA", now=then)
        signer = issue_signer(old, common_name="A", login="a", organisation="B", password=PASSWORD, now=then)
        status = verify_pdf(sign(unsigned, signer, then + timedelta(days=9)), [old.certificate_pem])
        assert status.problems == ()
        assert status.signed_at == then + timedelta(days=9)

    def test_is_verified_without_the_network(self, signed, authority, monkeypatch):
        def refuse(*args, **options):
            raise AssertionError("verification went to the network")

        monkeypatch.setattr(socket, "getaddrinfo", refuse)
        monkeypatch.setattr(socket, "create_connection", refuse)
        assert verify_pdf(signed, [authority.certificate_pem]).problems == ()


class TestSigning:
    def test_is_refused_with_another_password(self, unsigned, credential):
        with pytest.raises(WrongPassword):
            sign(unsigned, credential, password="admin")

    @pytest.mark.parametrize("days", [-2, 3 * 365 + 2])
    def test_is_refused_outside_the_certificates_validity(self, unsigned, credential, days):
        with pytest.raises(CertificateNotValid):
            sign(unsigned, credential, NOW + timedelta(days=days))

    def test_is_refused_on_a_signed_document(self, signed, credential):
        with pytest.raises(AlreadySigned):
            sign(signed, credential)


class TestChangedByte:
    def test_is_found_wherever_it_lies(self, signed, authority):
        """Two hundred offsets over the file; the seed is fixed so that a failure can be repeated."""
        chance = random.Random(20261121)
        for offset in chance.sample(range(len(signed)), 200):
            status = verify_pdf(flipped(signed, offset), [authority.certificate_pem])
            assert status.problems, f"offset {offset}"
            assert set(status.problems) <= set(PROBLEMS)

    @pytest.mark.parametrize("mask", [0x01, 0x20])
    def test_is_found_anywhere_in_the_signature_itself_and_its_padding(self, signed, authority, mask):
        start, end = contents_of(signed)
        for offset in range(start, end, 7):
            status = verify_pdf(flipped(signed, offset, mask), [authority.certificate_pem])
            assert status.problems, f"offset {offset}"

    def test_in_a_page_stream_is_named_changed_content(self, signed, unsigned, authority):
        stream = unsigned.rindex(b"stream\n", 0, unsigned.rindex(b"endstream")) + 40
        status = verify_pdf(flipped(signed, stream), [authority.certificate_pem])
        assert status.problems == ("content_changed",)
        assert (status.present, status.intact, status.trusted) == (True, False, False)

    def test_is_rejected_by_pdfsig_too(self, signed, pdfsig):
        chance = random.Random(7)
        start, end = contents_of(signed)
        spread = [*chance.sample(range(start - 200), 12), *chance.sample(range(end + 10, len(signed)), 3)]
        # Value of the signature: the last bytes of the object, before the padding of zeros.
        digits = signed[start:end].rstrip(b"0")
        for offset in (*spread, start + len(digits) - 20, start + len(digits) - 60):
            said = pdfsig(flipped(signed, offset))
            assert "Signature is Valid." not in said, f"offset {offset}"


class TestChangeAfterSigning:
    def test_bytes_appended(self, signed, authority):
        for tail in (b"\n", b"%%EOF\n", b"% a remark\n", bytes(2000)):
            status = verify_pdf(signed + tail, [authority.certificate_pem])
            assert "changed_after_signing" in status.problems
            assert not status.covers_whole_document

    def test_another_page_content_in_an_incremental_update(self, signed, authority, pdfsig):
        from pyhanko.pdf_utils import generic
        from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter

        writer = IncrementalPdfFileWriter(io.BytesIO(signed))
        page = writer.root["/Pages"]["/Kids"][0]
        page["/Contents"] = writer.add_object(generic.StreamObject(stream_data=b"0 0 600 800 re f"))
        writer.update_container(page)
        output = io.BytesIO()
        writer.write(output)
        status = verify_pdf(output.getvalue(), [authority.certificate_pem])
        assert status.intact
        assert not status.covers_whole_document
        assert status.problems == ("changed_after_signing",)
        assert "Not total document signed" in pdfsig(output.getvalue())

    def test_an_end_cut_off(self, signed, authority):
        for length in (len(signed) - 1, len(signed) - 300, contents_of(signed)[0] + 50):
            assert verify_pdf(signed[:length], [authority.certificate_pem]).problems


class TestTrust:
    def test_another_authority_of_the_same_name_is_not_believed(self, unsigned, authority, pdfsig):
        twin = create_authority("连州市影像心电中心 CA", now=NOW - timedelta(days=1))
        forger = issue_signer(
            twin,
            common_name=RARE_NAME,
            login="yijingzhi",
            organisation="连州市人民医院",
            password=PASSWORD,
            now=NOW,
        )
        forged = sign(unsigned, forger)
        status = verify_pdf(forged, [authority.certificate_pem])
        assert (status.intact, status.valid, status.trusted) == (True, True, False)
        assert status.problems == ("signer_untrusted",)
        assert "Certificate is Trusted." not in pdfsig(forged)
        assert verify_pdf(forged, [authority.certificate_pem, twin.certificate_pem]).trusted

    def test_nobody_is_believed_without_roots(self, signed):
        assert verify_pdf(signed, []).problems == ("signer_untrusted",)

    def test_a_time_in_the_future_is_named(self, unsigned, credential, authority):
        status = verify_pdf(sign(unsigned, credential, NOW + timedelta(days=1)), [authority.certificate_pem])
        assert status.problems == ("signed_in_future",)
        assert not status.trusted


class TestGarbage:
    def test_gives_problems_and_no_exception(self, signed, unsigned, authority):
        roots = [authority.certificate_pem]
        assert verify_pdf(b"", roots).problems == ("unreadable",)
        assert verify_pdf(bytes(range(256)) * 40, roots).problems == ("unreadable",)
        assert verify_pdf(b"%PDF-1.7\n%%EOF", roots).problems == ("unreadable",)
        assert verify_pdf(unsigned, roots).problems == ("not_signed",)
        assert not verify_pdf(unsigned, roots).present
        start, end = contents_of(signed)
        for filling in (b"0", b"F", b"Z", b"3080"):
            hollow = signed[:start] + (filling * (end - start))[: end - start] + signed[end:]
            assert verify_pdf(hollow, roots).problems == ("signature_damaged",)

    def test_logs_no_names(self, unsigned, authority, credential, caplog):
        verify_pdf(sign(unsigned, credential), [])
        verify_pdf(sign(unsigned, credential, NOW + timedelta(days=700)), [authority.certificate_pem])
        assert RARE_NAME not in caplog.text
