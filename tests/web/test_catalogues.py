"""Every visible word stands in both catalogues, and none is written into a template."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from jinja2 import Environment

from hub.web import i18n

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "hub/web/templates"
CALL = re.compile(r"""\bt\(\s*(["'])([a-z_]+\.[\w.]*)\1\s*([~+]?)""")
PLACEHOLDER = re.compile(r"\{(\w+)[^}]*\}")
CJK = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\u3000-\u303f\uff01-\uff5e]")
WORD = re.compile(r"[A-Za-z]{2,}")
SPOKEN_ATTRIBUTES = {"title", "placeholder", "alt", "aria-label", "data-confirm", "data-confirm-title"}
CLASS_BLOCK = re.compile(r"{%-?\s*block (?:body|main)_class\s*-?%}[^{]*")
SILENT_TAGS = {"script", "style", "kbd", "code"}


def sources() -> list[Path]:
    return sorted([*(ROOT / "hub").rglob("*.py"), *TEMPLATES.rglob("*.html")])


def keys_used(text: str) -> list[tuple[str, bool]]:
    """Keys in calls of `t`, each with whether it is only the beginning of one."""
    return [(key, bool(joined)) for _, key, joined in CALL.findall(text)]


def missing_keys(text: str, known: set[str]) -> list[str]:
    return [
        key
        for key, is_prefix in keys_used(text)
        if not (any(each.startswith(key) for each in known) if is_prefix else key in known)
    ]


class LiteralFinder(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.inside: list[str] = []
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in SILENT_TAGS:
            self.inside.append(tag)
        self.found += [v for name, v in attrs if name in SPOKEN_ATTRIBUTES and v and WORD.search(v)]

    def handle_endtag(self, tag: str) -> None:
        if self.inside and self.inside[-1] == tag:
            self.inside.pop()

    def handle_data(self, data: str) -> None:
        if not self.inside and WORD.search(data):
            self.found.append(data.strip())


def literals(source: str) -> list[str]:
    """Words that a template would show without a catalogue: any CJK, or Latin words in its HTML."""
    tokens = [
        (kind, value)
        for _, kind, value in Environment(autoescape=True).lex(CLASS_BLOCK.sub("{% block x %}", source))
    ]
    found = [value for kind, value in tokens if "comment" not in kind and CJK.search(value)]
    finder = LiteralFinder()
    finder.feed("".join(value if kind == "data" else " " for kind, value in tokens if "comment" not in kind))
    return found + finder.found


@pytest.mark.parametrize("lang", i18n.LANGUAGES)
@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_key_used_exists(path: Path, lang: str) -> None:
    assert missing_keys(path.read_text(encoding="utf-8"), set(i18n.catalogue(lang))) == []


def test_both_languages_have_the_same_keys_and_no_empty_text() -> None:
    chinese, english = (i18n.catalogue(lang) for lang in ("zh-CN", "en"))
    assert set(chinese) == set(english)
    empty = [key for texts in (chinese, english) for key, text in texts.items() if not text or not all(text)]
    assert empty == []


def test_both_languages_have_the_same_placeholders() -> None:
    def placeholders(text: i18n.Text) -> set[str]:
        return set(PLACEHOLDER.findall(text if isinstance(text, str) else "".join(text)))

    chinese, english = (i18n.catalogue(lang) for lang in ("zh-CN", "en"))
    differing = [key for key in chinese if placeholders(chinese[key]) != placeholders(english.get(key, ""))]
    assert differing == []


@pytest.mark.parametrize(
    "path", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: str(path.relative_to(TEMPLATES))
)
def test_no_words_in_templates(path: Path) -> None:
    assert literals(path.read_text(encoding="utf-8")) == []


class TestTheCheckersSeeFaults:
    def test_a_missing_key(self) -> None:
        assert missing_keys('{{ t("a.b") }} {{ t("a.c", n=1) }}', {"a.b"}) == ["a.c"]

    def test_a_missing_beginning(self) -> None:
        assert missing_keys('{{ t("a.x." ~ k) }} {{ t("a.b." ~ k) }}', {"a.b.c"}) == ["a.x."]

    @pytest.mark.parametrize(
        "fault",
        [
            "<p>Save</p>",
            "<p>保存</p>",
            '<a title="Open it">x</a>',
            '{{ ui.button("保存") }}',
            "{% if a %}Yes{% endif %}",
        ],
    )
    def test_words_in_a_template(self, fault: str) -> None:
        assert literals(fault)

    @pytest.mark.parametrize(
        "fine",
        [
            "{% block body_class %}workspace{% endblock %}",
            '<p class="muted">{{ t("a.b") }} · 3</p>',
            "{# 说明 note #}",
            "<kbd>Enter</kbd>",
            '<a title="{{ t("a.b") }}">1</a>',
        ],
    )
    def test_clean_templates(self, fine: str) -> None:
        assert literals(fine) == []
