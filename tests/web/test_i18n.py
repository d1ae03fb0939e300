from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from structlog.testing import capture_logs

from hub.web import i18n

SHANGHAI = ZoneInfo("Asia/Shanghai")
EN = i18n.translator("en")
ZH = i18n.translator("zh-CN")


def test_a_missing_text_raises_in_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_STRICT_TEXTS", "1")
    with pytest.raises(i18n.MissingTextError):
        EN("common.nothing_of_the_kind")


def test_a_missing_text_shows_itself_and_is_logged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HUB_STRICT_TEXTS", raising=False)
    monkeypatch.setattr(i18n, "_reported", set())
    with capture_logs() as logs:
        assert [EN("common.lost_key"), EN("common.lost_key")] == ["⟦common.lost_key⟧"] * 2
    assert [(each["event"], each["key"]) for each in logs] == [("text_missing", "common.lost_key")]


def test_unknown_languages_fall_back() -> None:
    wanted = ["en", "zh-CN", "fr", None, "../en"]
    assert [i18n.choose_language(each) for each in wanted] == ["en", "zh-CN", "zh-CN", "zh-CN", "zh-CN"]


def test_times_are_the_hubs_to_the_minute() -> None:
    """Shanghai is eight hours ahead of UTC the whole year."""
    moment = datetime(2026, 11, 21, 16, 30, 59, tzinfo=UTC)
    assert i18n.format_datetime(moment, SHANGHAI) == "2026-11-22 00:30"
    assert i18n.format_datetime(moment, SHANGHAI, seconds=True) == "2026-11-22 00:30:59"
    assert i18n.format_date(moment, SHANGHAI) == "2026-11-22"
    assert i18n.format_date(date(2026, 1, 2), SHANGHAI) == "2026-01-02"


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        i18n.format_datetime(datetime(2026, 1, 1), SHANGHAI)  # noqa: DTZ001


@pytest.mark.parametrize(
    ("born", "shown"),
    [
        (date(2026, 3, 1), "0天"),
        (date(2026, 2, 2), "27天"),
        (date(2026, 2, 1), "1个月"),
        (date(2023, 3, 2), "35个月"),
        (date(2023, 3, 1), "3岁"),
        (date(1981, 3, 2), "44岁"),
        (date(1980, 2, 29), "46岁"),
        (date(2026, 3, 2), "出生日期晚于检查日期"),
    ],
)
def test_ages_on_the_first_of_march_2026(born: date, shown: str) -> None:
    """Counted by hand on a calendar."""
    assert i18n.format_age(born, date(2026, 3, 1), ZH) == shown


def test_dicom_ages() -> None:
    """AS of PS3.5 section 6.2; what is none stays as it came."""
    ages = ["045Y", "003M", "002W", "010D", "45", ""]
    assert [i18n.format_dicom_age(age, EN) for age in ages] == ["45 y", "3 mo", "2 wk", "10 d", "45", ""]


def test_durations_and_distances() -> None:
    spans = [timedelta(seconds=59), timedelta(minutes=65), timedelta(hours=1), timedelta(days=1, hours=2)]
    assert [i18n.format_duration(span, EN) for span in spans] == ["59 s", "1 h 5 min", "1 h", "1 d 2 h"]
    now = datetime(2026, 1, 10, tzinfo=UTC)
    moments = [now, now - timedelta(minutes=3), now - timedelta(hours=25), now + timedelta(hours=2)]
    assert [i18n.format_ago(moment, now, EN) for moment in moments] == [
        "just now",
        "3 min ago",
        "1 d ago",
        "in 2 h",
    ]
