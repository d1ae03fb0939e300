"""Names under every declaration, from the wire to the catalogue; the bytes in the archive stay as sent.

Truths are text here; Python's codecs (or the standard's printed bytes) make what a device sends.
"""

import hashlib
import os
from pathlib import Path

import pytest
from sqlalchemy import select

from hub.catalogue.models import Instance, Series, Study
from hub.catalogue.places import place_of, read_place
from hub.dicom.part10 import split
from hub.kit.text import person_name
from hub.sites import service as sites
from hub.sites.repository import SiteRepository
from tests.dicom.samples import CT_CLASS, EXPLICIT, build, element
from tests.fixtures.raw_dicom import receive
from tests.fixtures.world import SETUP, World

FOLDER = os.environ.get("HUB_TEST_DATA", "")

GARBLED = "王小东".encode("gbk").decode("latin-1")
CASES: list[tuple[str, str, bytes, str]] = [
    ("GBK, says GBK", "GBK", "郑^伟".encode("gbk"), "郑伟"),
    ("GBK, says GB18030", "GB18030", "王^小东".encode("gbk"), "王小东"),
    ("GBK, says nothing", "", "郑伟".encode("gbk"), "郑伟"),
    ("GBK, says ISO_IR 100", "ISO_IR 100", "郑伟".encode("gbk"), "郑伟"),
    ("GBK, says ISO_IR 192", "ISO_IR 192", "郑伟".encode("gbk"), "郑伟"),
    ("GBK, says two", "GB18030\\ISO IR 192", "谢霞".encode("gbk"), "谢霞"),
    ("GBK, says ISO 2022 IR 58", "\\ISO 2022 IR 58", "郑强".encode("gbk"), "郑强"),
    ("second byte a backslash", "GB18030", "岑^昞".encode("gbk"), "岑昞"),
    ("second byte a backslash, says ISO_IR 192", "ISO_IR 192", "李昞".encode("gbk"), "李昞"),
    ("second byte a caret", "GB18030", "Li^X=李^哵".encode("gbk"), "李哵"),
    ("second byte a bar", "", "张瑋東".encode("gbk"), "张瑋東"),
    ("four bytes", "GB18030", "闫^𠮷䶮".encode("gb18030"), "闫𠮷䶮"),
    ("UTF-8, says so", "ISO_IR 192", "Liu^Yang=刘^洋".encode(), "刘洋"),
    ("UTF-8, says nothing", "", "赵敏".encode(), "赵敏"),
    ("UTF-8, says GB18030", "GB18030", "赵敏".encode(), "赵敏"),
    ("UTF-8, says ISO_IR 100", "ISO_IR 100", "欧阳^娜娜".encode(), "欧阳娜娜"),
    ("mojibake, once", "ISO_IR 192", GARBLED.encode(), "王小东"),
    ("mojibake, twice", "ISO_IR 192", GARBLED.encode().decode("latin-1").encode(), "王小东"),
    ("mojibake of UTF-8", "ISO_IR 192", "陈秀英".encode().decode("latin-1").encode(), "陈秀英"),
    ("ISO 2022, escapes", "\\ISO 2022 IR 58", b"Wang^Fang=\x1b$)A\xcd\xf5^\x1b$)A\xb7\xbc", "王芳"),
    ("PS3.5 H.3.1", "\\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "山田太郎"),
    ("PS3.5 I.2", "\\ISO 2022 IR 149", b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7", "洪吉洞"),
    ("Latin-1", "ISO_IR 100", "Buc^Jérôme".encode("latin-1"), "Buc Jérôme"),
    ("ASCII", "GB18030", b"ZHANG^WEI", "ZHANG WEI"),
]
"""What it is, the declaration, the bytes, the truth."""

CUT: list[tuple[str, str, bytes, str]] = [
    ("cut in the middle of a character", "GB18030", "王秀英".encode("gbk")[:-1], "王秀"),
    ("cut in the middle of a character, UTF-8", "ISO_IR 192", "王秀英".encode()[:-1], "王秀"),
]

MANIFEST = {
    "chrArab": "قباني لنزار",
    "chrFren": "Buc Jérôme",
    "chrFrenMulti": "Buc Jérôme",
    "chrGB2312": "张小东",
    "chrGerm": "Äneas Rüdiger",
    "chrGreek": "Διονυσιος",
    "chrH31": "山田太郎",
    "chrHbrw": "שרון דבורה",
    "chrI2": "洪吉洞",
    "chrRuss": "Люкceмбypг",
    "chrX1": "王小東",
    "chrX2": "王小东",
    "derived_cn_gb18030": "张伟",
    "derived_cn_gb18030_4byte": "闫䶮",
    "derived_cn_gb18030_implicit": "张伟",
    "derived_cn_gbk": "欧阳娜娜",
    "derived_cn_gbk_trail_5c_5e": "李哵",
    "derived_cn_isoir58": "王芳",
    "derived_cn_raw_gbk_as_latin1": "陈秀英",
    "derived_cn_raw_gbk_nocharset": "李建国",
    "derived_cn_truncated_multibyte": "张伟",
    "derived_cn_utf8": "刘洋",
    "derived_cn_utf8_as_gb18030": "赵敏",
    "derived_cn_utf8_bigendian": "刘洋",
}
"""The true name in each file of the folder of character sets."""


@pytest.fixture
def device(sqlite_world: World) -> World:
    add_device(sqlite_world)
    return sqlite_world


def add_device(world: World, **rules: str) -> None:
    with world.context.db.transaction() as session:
        site = SiteRepository(session).site(world.site_ids["DP"])
        assert site is not None
        sites.add_device(
            session,
            site,
            "CT1",
            address="10.0.0.1",
            now=world.clock(),
            actor=SETUP,
            **rules,  # type: ignore[typeddict-item]
        )


def push(world: World, number: int, declared: str, raw: bytes) -> bytes:
    """Let an object with this name arrive; return its data set."""
    dataset = build(
        t00080005=element(0x00080005, "CS", declared.encode()) if declared else b"",
        t00080018=element(0x00080018, "UI", f"1.2.3.{number}".encode()),
        t0020000D=element(0x0020000D, "UI", f"1.2.4.{number}".encode()),
        t00100010=element(0x00100010, "PN", raw),
        t00100020=element(0x00100020, "LO", f"P{number}".encode()),
    )
    assert receive(world.context, dataset, CT_CLASS, f"1.2.3.{number}", EXPLICIT, "CT1", "10.0.0.1") == 0
    return dataset


def studies(world: World) -> dict[str, Study]:
    with world.context.db.reading() as session:
        return {study.study_uid: study for study in session.scalars(select(Study))}


def archived(world: World) -> dict[str, str]:
    """SHA-256 of each archived data set, by SOP Instance UID."""
    with world.context.db.reading() as session:
        instances = list(session.scalars(select(Instance).join(Series, Series.id == Instance.series_id)))
    return {
        row.sop_uid: hashlib.sha256(
            read_place(world.context.store, place_of(row))[row.dataset_offset :]
        ).hexdigest()
        for row in instances
    }


def test_every_declaration_from_the_wire_to_the_catalogue(device: World) -> None:
    sent = [push(device, number, declared, raw) for number, (_, declared, raw, _) in enumerate(CASES)]
    found = studies(device)
    for number, (case, declared, raw, truth) in enumerate(CASES):
        study = found[f"1.2.4.{number}"]
        assert (study.patient_name, study.name_confidence >= 0.6) == (truth, True), case
        assert (study.name_raw.rstrip(b" "), study.declared_charset) == (raw, declared), case
    device.settle()
    kept = archived(device)
    for number, dataset in enumerate(sent):
        assert kept[f"1.2.3.{number}"] == hashlib.sha256(dataset).hexdigest()


def test_a_cut_name_waits_for_a_person(device: World) -> None:
    for number, (case, declared, raw, shown) in enumerate(CUT):
        push(device, number, declared, raw)
        study = studies(device)[f"1.2.4.{number}"]
        assert (study.patient_name, study.name_confidence < 0.6) == (shown, True), case
    page = device.client("tech_dp").get("/desk?show=names").text
    assert page.count("/desk/names/") >= len(CUT)


def test_what_a_device_is_known_to_write_wins(sqlite_world: World) -> None:
    add_device(sqlite_world, charset="Big5")
    push(sqlite_world, 1, "ISO_IR 100", "陳秀英".encode("big5"))
    study = studies(sqlite_world)["1.2.4.1"]
    assert (study.patient_name, study.name_charset, study.name_confidence) == ("陳秀英", "Big5", 1.0)


@pytest.mark.skipif(not FOLDER, reason="HUB_TEST_DATA is not set")
def test_every_file_of_the_folder_shows_its_true_name(
    device: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Oracle: the manifest's names. Prints a table: file, declared, used, confidence, right."""
    lines: list[str] = []
    sent: dict[str, str] = {}
    for stem, truth in MANIFEST.items():
        raw = (Path(FOLDER) / "charsets" / f"{stem}.dcm").read_bytes()
        meta, start = split(raw)
        # Two of the files have one UID: of those the first stays.
        sent.setdefault(meta.sop_instance, hashlib.sha256(raw[start:]).hexdigest())
        status = receive(
            device.context,
            raw[start:],
            meta.sop_class,
            meta.sop_instance,
            meta.transfer_syntax,
            "CT1",
            "10.0.0.1",
        )
        assert status == 0, stem
        with device.context.db.reading() as session:
            study = session.scalars(
                select(Study)
                .join(Series, Series.study_id == Study.id)
                .join(Instance, Instance.series_id == Series.id)
                .where(Instance.sop_uid == meta.sop_instance)
            ).one()
        read = person_name(study.name_raw, study.declared_charset)
        right = read.display == truth
        lines.append(f"{stem:34} {read.declared or '-':18} {read.used:28} {read.confidence:4.2f} {right}")
        assert right, (stem, read.display)
    with capsys.disabled():
        print("\n" + "\n".join(lines))
    device.settle()
    kept = archived(device)
    assert {uid: kept[uid] for uid in sent} == sent
