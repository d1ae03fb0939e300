"""The generated pages say what the code says, and every link among the documents leads somewhere."""

import re
import shutil
from pathlib import Path

import pytest

from tests import generate_docs
from tests.architecture.sources import ROOT, name_of, tracked_files

LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)\s#]+)(?:#[^)\s]*)?\)")
PICTURES = {".png", ".svg"}


@pytest.fixture
def copy_of_docs(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    return tmp_path


def dead_links(page: Path) -> list[str]:
    """Targets in a page that are no file beside it; screenshots are taken apart from the text."""
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    return [
        target
        for target in targets
        if Path(target).suffix not in PICTURES and not (page.parent / target).exists()
    ]


def test_generated_pages_are_up_to_date() -> None:
    assert generate_docs.outdated() == [], "run `make docs`"


def test_links_lead_somewhere() -> None:
    pages = [path for path in tracked_files() if path.suffix == ".md"]
    assert {name_of(page): dead for page in pages if (dead := dead_links(page))} == {}


class TestTheseChecks:
    @pytest.mark.parametrize("name", [*generate_docs.PAGES, *generate_docs.BLOCKS])
    def test_a_changed_cell_is_caught(self, copy_of_docs: Path, name: str) -> None:
        page = copy_of_docs / name
        lines = page.read_text(encoding="utf-8").splitlines(keepends=True)
        start = max((n for n, line in enumerate(lines) if line.startswith("<!-- generated")), default=0)
        row = next(n for n, line in enumerate(lines) if n > start and line.startswith("| "))
        page.write_text("".join([*lines[: row + 2], "| planted |\n", *lines[row + 2 :]]), encoding="utf-8")
        assert generate_docs.outdated(copy_of_docs) == [name]

    def test_a_missing_page_is_caught(self, copy_of_docs: Path) -> None:
        (copy_of_docs / "docs/states.md").unlink()
        assert generate_docs.outdated(copy_of_docs) == ["docs/states.md"]

    def test_a_missing_block_is_caught(self) -> None:
        with pytest.raises(AssertionError, match="blocks"):
            generate_docs.filled("no blocks here", {"statuses": generate_docs.statuses_block})

    def test_a_dead_link_is_caught(self, tmp_path: Path) -> None:
        page = tmp_path / "page.md"
        page.write_text("[a](page.md#part) [b](gone.md) [c](https://example.org/x) ![d](shot.png)")
        assert dead_links(page) == ["gone.md"]
