"""Hostile requests for objects: whatever is asked, the answer is one of the service's own, never a fault."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from hub.dicom.transcode import MADE_HERE
from tests.dicom.conftest import Archive

OURS = {200, 206, 304, 400, 404, 406, 413, 416, 422}
FILES = ("CT_small.dcm", "SC_rgb_rle_2frame.dcm", "seg_image_ct_binary.dcm", "test-SR.dcm")
QUICK = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)

MEDIA = st.sampled_from(
    [
        "*/*",
        "application/dicom",
        "application/octet-stream",
        "image/jls",
        "image/*",
        "image/png",
        "a/b",
        "/",
        "",
    ]
)
SYNTAX = st.sampled_from([*sorted(MADE_HERE), "*", "", "1.2.840.10008.1.2.4.102", "9" * 300])


@st.composite
def entry(draw: Any) -> str:
    kind, syntax, quality = draw(MEDIA), draw(SYNTAX), draw(st.sampled_from(["", ";q=0", ";q=1e9", ";q=nan"]))
    if draw(st.booleans()):
        return f'multipart/related; type="{kind}"; transfer-syntax={syntax}{quality}'
    return f"{kind}; transfer-syntax={syntax}{quality}"


PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60)
ACCEPT = st.one_of(PRINTABLE, st.lists(entry(), max_size=4).map(",".join), entry().map(lambda one: one + '"'))
NUMBERS = st.one_of(
    st.integers(-3, 12).map(str),
    st.sampled_from(["1e9", "999999999", "999999999.999999999", "-0", "nan", "inf", "", "0.0000001", "+1."]),
)
LIST = st.lists(NUMBERS, max_size=7).map(",".join)
PARAMETERS = st.fixed_dictionaries(
    {},
    optional={
        "window": st.one_of(
            PRINTABLE, st.tuples(LIST, st.sampled_from(["", ",sigmoid", ",linear-exact"])).map("".join)
        ),
        "viewport": st.one_of(PRINTABLE, LIST),
        "quality": NUMBERS,
        "iccprofile": PRINTABLE,
        "accept": ACCEPT,
    },
)
HEADERS = st.fixed_dictionaries(
    {"Accept": ACCEPT},
    optional={
        "Range": st.one_of(
            PRINTABLE, st.tuples(NUMBERS, NUMBERS).map(lambda two: f"bytes={two[0]}-{two[1]}")
        ),
        "If-None-Match": PRINTABLE,
        "If-Range": PRINTABLE,
        "Accept-Encoding": PRINTABLE,
    },
)
TAIL = st.one_of(
    st.sampled_from(["", "/metadata", "/rendered", "/thumbnail", "/frames/1/rendered", "/bulkdata/7FE00010"]),
    LIST.map(lambda numbers: f"/frames/{numbers}"),
    st.lists(
        st.sampled_from(["7FE00010", "0", "99", "..", "%2e%2e", "5400", "x", "-1", "00080005"]), max_size=6
    ).map(lambda steps: "/bulkdata/" + "/".join(steps)),
    NUMBERS.map(lambda number: f"/frames/{number}/thumbnail"),
)


@pytest.fixture(scope="module")
def reader(archive: Archive) -> TestClient:
    client = archive.client()
    client.follow_redirects = True
    return client


class TestAnything:
    @QUICK
    @given(name=st.sampled_from(FILES), tail=TAIL, headers=HEADERS, parameters=PARAMETERS)
    def test_is_answered(  # noqa: PLR0917 - what a request consists of
        self, archive: Archive, reader: TestClient, name: str, tail: str, headers: Any, parameters: Any
    ) -> None:
        response = reader.get(archive.filed[name].url + tail, headers=headers, params=parameters)
        assert response.status_code in OURS, (tail, headers, parameters, response.text[:200])

    @QUICK
    @given(header=ACCEPT, level=st.sampled_from(["study", "series"]))
    def test_whole_series(self, archive: Archive, reader: TestClient, header: str, level: str) -> None:
        url = archive.filed["CT_small.dcm"].url.rsplit("/series/" if level == "study" else "/instances/", 1)[
            0
        ]
        for tail in ("", "/rendered", "/metadata"):
            assert reader.get(url + tail, headers={"Accept": header}).status_code in OURS


@pytest.mark.parametrize("count", [10_000, 10_001])
def test_longest_list_of_frames(archive: Archive, reader: TestClient, count: int) -> None:
    numbers = ",".join(["1"] * count)
    response = reader.get(f"{archive.filed['SC_rgb_small_odd_big_endian.dcm'].url}/frames/{numbers}")
    assert response.status_code == (200 if count == 10_000 else 400)
