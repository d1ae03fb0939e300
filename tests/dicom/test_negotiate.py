"""Accept headers; the table is worked out by hand from PS3.18 section 8.7 and RFC 9110."""

import pytest

from hub.dicom.negotiate import (
    BadAccept,
    FrameForm,
    NotAcceptable,
    acceptable,
    choose_files,
    choose_frames,
    choose_json,
    choose_picture,
)

OCTETS = "application/octet-stream"
LITTLE, JPEG, RLE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.5"
JPEG_LS, HTJ2K = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.201"


NATIVE = frozenset({LITTLE})
EVERYTHING = frozenset({LITTLE, RLE, JPEG_LS, HTJ2K})


@pytest.mark.parametrize(
    ("header", "stored", "expected"),
    [
        ("", JPEG, FrameForm(LITTLE, multipart=True, media_type=OCTETS)),
        ("*/*", LITTLE, FrameForm(LITTLE, multipart=True, media_type=OCTETS)),
        ("*/*; transfer-syntax=*", JPEG, FrameForm(JPEG, multipart=True, media_type="image/jpeg")),
        (f'multipart/related; type="{OCTETS}"', JPEG, FrameForm(LITTLE, True, OCTETS)),
        (f"multipart/related; type={OCTETS}; transfer-syntax=*", JPEG, FrameForm(JPEG, True, OCTETS)),
        (f'multipart/related; type="{OCTETS}"; transfer-syntax={JPEG}', JPEG, FrameForm(JPEG, True, OCTETS)),
        (
            f'multipart/related; type="{OCTETS}"; transfer-syntax={LITTLE}',
            RLE,
            FrameForm(LITTLE, True, OCTETS),
        ),
        ('multipart/related; type="image/jpeg"', JPEG, FrameForm(JPEG, True, "image/jpeg")),
        ("image/jpeg", JPEG, FrameForm(JPEG, False, "image/jpeg")),
        ('multipart/related; type="image/x-dicom-rle"', RLE, FrameForm(RLE, True, "image/dicom-rle")),
        (OCTETS, LITTLE, FrameForm(LITTLE, False, OCTETS)),
        (
            f'multipart/related; type="image/jls";q=0.9, multipart/related;type="{OCTETS}";q=0.1',
            JPEG,
            FrameForm(LITTLE, True, OCTETS),
        ),
        ('multipart/related; type="image/jpeg"', LITTLE, None),
        ('multipart/related; type="image/jpeg"; transfer-syntax=1.2.840.10008.1.2.4.70', JPEG, None),
        (f'multipart/related; type="{OCTETS}"; transfer-syntax={RLE}', JPEG, None),
        (f'multipart/related; type="image/jls"; transfer-syntax={HTJ2K}', JPEG, None),
        (f"{OCTETS};q=0", LITTLE, None),
        (f"{OCTETS};q=nan", LITTLE, None),
        ("text/html", LITTLE, None),
    ],
)
def test_frames_that_can_only_be_decoded(header: str, stored: str, expected: FrameForm | None) -> None:
    accepted = acceptable(header)
    if expected is None:
        with pytest.raises(NotAcceptable):
            choose_frames(accepted, stored, NATIVE.__contains__, several=False)
    else:
        assert choose_frames(accepted, stored, NATIVE.__contains__, several=False) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('multipart/related; type="image/jls"', FrameForm(JPEG_LS, True, "image/jls")),
        ('multipart/related; type="image/jphc"', FrameForm(HTJ2K, True, "image/jphc")),
        ("image/dicom-rle", FrameForm(RLE, False, "image/dicom-rle")),
        (f'multipart/related; type="{OCTETS}"; transfer-syntax={HTJ2K}', FrameForm(HTJ2K, True, OCTETS)),
        (f"*/*; transfer-syntax={HTJ2K}", FrameForm(HTJ2K, True, "image/jphc")),
        (
            f"multipart/related; type={OCTETS}; transfer-syntax=*;q=0.1, multipart/related; type=image/jls",
            FrameForm(JPEG_LS, True, "image/jls"),
        ),
    ],
)
def test_frames_that_can_be_encoded(header: str, expected: FrameForm) -> None:
    found = choose_frames(acceptable(header), LITTLE, EVERYTHING.__contains__, several=False)
    assert found == expected


def test_several_frames_come_as_parts_only() -> None:
    with pytest.raises(NotAcceptable):
        choose_frames(acceptable(OCTETS), LITTLE, NATIVE.__contains__, several=True)
    both = f"{OCTETS}, multipart/related; type={OCTETS};q=0.5"
    assert choose_frames(acceptable(both), LITTLE, NATIVE.__contains__, several=True).multipart


class TestFiles:
    ONE = 'multipart/related; type="application/dicom"; transfer-syntax='

    @pytest.mark.parametrize(
        ("header", "stored", "expected"),
        [
            ("*/*", JPEG, JPEG),
            ("application/dicom", RLE, RLE),
            (f"{ONE}*", RLE, RLE),
            (f"{ONE}{JPEG}, {ONE}{RLE}", RLE, RLE),
            (f"{ONE}{HTJ2K}", RLE, HTJ2K),
            (f"{ONE}{JPEG};q=0.9, {ONE}{HTJ2K};q=0.5", RLE, HTJ2K),
            (f"{ONE}*;q=0.5, {ONE}{HTJ2K}", RLE, HTJ2K),
            (f"{ONE}*;q=0.5, {ONE}1.2.3", RLE, RLE),
            (f"{ONE}{JPEG}", RLE, None),
        ],
    )
    def test_syntax_of_one_object(self, header: str, stored: str, expected: str | None) -> None:
        form = choose_files(acceptable(header))
        if expected is None:
            with pytest.raises(NotAcceptable):
                form.of(stored, EVERYTHING.__contains__)
        else:
            assert form.of(stored, EVERYTHING.__contains__) == expected

    def test_alone_or_in_parts(self) -> None:
        assert choose_files(acceptable("*/*")).multipart
        assert not choose_files(acceptable("application/dicom")).multipart
        with pytest.raises(NotAcceptable):
            choose_files(acceptable("image/jpeg"))


def test_the_best_one_wins() -> None:
    assert choose_picture(acceptable("image/jpeg;q=0.2, image/png;q=0.8")) == "png"
    assert choose_picture(acceptable("text/html, image/*;q=0.5")) == "jpeg"
    with pytest.raises(NotAcceptable):
        choose_picture(acceptable('multipart/related; type="image/png"'))
    assert choose_picture(acceptable('multipart/related; type="image/png"'), several=True) == "png"
    assert choose_json(acceptable("application/json, application/dicom+json;q=0.5")) == "application/json"


@pytest.mark.parametrize("header", ["dicom", '"', 'a/b;x="open', "a/b c/d", "/", "a/b," * 100])
def test_what_is_no_header(header: str) -> None:
    with pytest.raises(BadAccept):
        acceptable(header)
