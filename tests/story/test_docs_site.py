"""The site builds strictly, has every page, and loads nothing from elsewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINE = [sys.executable, "-m", "zensical", "build", "--strict", "--config-file", ".zensical.toml"]
LOADING = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src", "use": "href"}


class Loads(HTMLParser):
    """What a page makes a browser fetch, and where its links lead."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.classes: set[str] = set()
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.classes |= set((given.get("class") or "").split())
        if tag in LOADING and (address := given.get(LOADING[tag])) and given.get("rel") != "canonical":
            self.fetched.append(address)


def built(directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(LINE, cwd=directory, capture_output=True, text=True, check=False, timeout=240)


def sources(directory: Path) -> Path:
    directory.mkdir()
    shutil.copy(ROOT / ".zensical.toml", directory)
    shutil.copytree(ROOT / "docs", directory / "docs")
    return directory


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = sources(tmp_path_factory.mktemp("site") / "project")
    done = built(directory)
    assert done.returncode == 0, done.stdout + done.stderr
    return directory / "build" / "docs"


def pages_of(nav: Any) -> Iterator[str]:
    for entry in nav:
        for value in entry.values():
            if isinstance(value, str):
                yield value
            else:
                yield from pages_of(value)


def test_every_page_is_in_the_navigation_and_built(site: Path) -> None:
    listed = list(pages_of(tomllib.loads((ROOT / ".zensical.toml").read_text())["project"]["nav"]))
    written = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert sorted(listed) == sorted(written)
    for page in listed:
        assert (site / page).with_suffix(".html").is_file()


def test_a_link_that_leads_nowhere_fails_the_build(tmp_path: Path) -> None:
    directory = sources(tmp_path / "broken")
    with (directory / "docs" / "index.md").open("a") as page:
        page.write("\n[nowhere](nowhere.md)\n")
    done = built(directory)
    assert done.returncode != 0
    assert "page does not exist" in done.stderr


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 10
    for page in pages:
        loads = Loads(page)
        assert loads.fetched
        assert [one for one in loads.fetched if re.match(r"(?:https?:)?//", one)] == [], page
        # These would make the theme's script fetch what draws them.
        assert not loads.classes & {"mermaid", "arithmatex"}, page
    for sheet in site.rglob("*.css"):
        assert re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//", sheet.read_text()) == [], sheet


def test_what_a_page_loads_is_there(site: Path) -> None:
    for page in site.rglob("*.html"):
        if page.name != "404.html":  # its addresses begin at the root of the server
            for address in Loads(page).fetched:
                assert (page.parent / address.partition("#")[0].partition("?")[0]).exists(), (page, address)
