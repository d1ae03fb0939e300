"""Accept headers; the table is worked out by hand from PS3.18 section 8.7 and RFC 9110."""

import pytest

from hub.dicom.negotiate import (
    BadAccept,
    FrameForm,
    NotAcceptable,
    acceptable,
    choose_frames,
    choose_instances,
    choose_json,
    choose_picture,
)

OCTETS = "application/octet-stream"
LITTLE, JPEG, RLE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.5"


@pytest.mark.parametrize(
    ("header", "stored", "expected"),
    [
        ("", JPEG, FrameForm(stored=False, multipart=True, media_type=OCTETS)),
        ("*/*", LITTLE, FrameForm(stored=True, multipart=True, media_type=OCTETS)),
        (f'multipart/related; type="{OCTETS}"', JPEG, FrameForm(False, True, OCTETS)),
        (f"multipart/related; type={OCTETS}; transfer-syntax=*", JPEG, FrameForm(True, True, OCTETS)),
        (f'multipart/related; type="{OCTETS}"; transfer-syntax={JPEG}', JPEG, FrameForm(True, True, OCTETS)),
        (
            f'multipart/related; type="{OCTETS}"; transfer-syntax={LITTLE}',
            RLE,
            FrameForm(False, True, OCTETS),
        ),
        ('multipart/related; type="image/jpeg"', JPEG, FrameForm(True, True, "image/jpeg")),
        ("image/jpeg", JPEG, FrameForm(True, False, "image/jpeg")),
        ('multipart/related; type="image/x-dicom-rle"', RLE, FrameForm(True, True, "image/dicom-rle")),
        (OCTETS, LITTLE, FrameForm(True, False, OCTETS)),
        (
            f'multipart/related; type="image/jls";q=0.9, multipart/related;type="{OCTETS}";q=0.1',
            JPEG,
            FrameForm(False, True, OCTETS),
        ),
        ('multipart/related; type="image/jpeg"', LITTLE, None),
        ('multipart/related; type="image/jpeg"; transfer-syntax=1.2.840.10008.1.2.4.70', JPEG, None),
        (f'multipart/related; type="{OCTETS}"; transfer-syntax={RLE}', JPEG, None),
        (f"{OCTETS};q=0", LITTLE, None),
        ("text/html", LITTLE, None),
    ],
)
def test_frames(header: str, stored: str, expected: FrameForm | None) -> None:
    if expected is None:
        with pytest.raises(NotAcceptable):
            choose_frames(acceptable(header), stored)
    else:
        assert choose_frames(acceptable(header), stored) == expected


def test_several_frames_come_as_parts_only() -> None:
    with pytest.raises(NotAcceptable):
        choose_frames(acceptable(OCTETS), LITTLE, several=True)
    both = f"{OCTETS}, multipart/related; type={OCTETS};q=0.5"
    assert choose_frames(acceptable(both), LITTLE, several=True).multipart


def test_instances_in_their_own_syntax() -> None:
    stored = frozenset({JPEG, RLE})
    one = 'multipart/related; type="application/dicom"; transfer-syntax='
    assert choose_instances(acceptable("*/*"), stored)
    assert choose_instances(acceptable(f"{one}*"), stored)
    assert choose_instances(acceptable(f"{one}{JPEG}, {one}{RLE}"), stored)
    assert not choose_instances(acceptable("application/dicom"), stored)
    with pytest.raises(NotAcceptable):
        choose_instances(acceptable(f"{one}{JPEG}"), stored)


def test_the_best_one_wins() -> None:
    assert choose_picture(acceptable("image/jpeg;q=0.2, image/png;q=0.8")) == "png"
    assert choose_picture(acceptable("text/html, image/*;q=0.5")) == "jpeg"
    assert choose_json(acceptable("application/json, application/dicom+json;q=0.5")) == "application/json"


@pytest.mark.parametrize("header", ["dicom", '"', 'a/b;x="open', "a/b c/d", "/"])
def test_what_is_no_header(header: str) -> None:
    with pytest.raises(BadAccept):
        acceptable(header)
