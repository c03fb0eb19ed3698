"""The documentation as a site: it is made without a warning, loads nothing from elsewhere, and no link is dead."""

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from docs.site.transitions import transitions

ROOT = Path(__file__).parent.parent.parent
LOADS = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
"""What a browser fetches by itself, by element."""


class Page(HTMLParser):
    """What a page leads to, what it loads, and where in it one can be led."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.feed(file.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        of = dict(attributes)
        self.ids |= {name for name in (of.get("id"), of.get("name")) if name}
        if tag == "a" and of.get("href"):
            self.links.append(str(of["href"]))
        if tag in LOADS and of.get(LOADS[tag]):
            self.loads.append(str(of[LOADS[tag]]))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Page]:
    """Made as `make docs` does."""
    folder = tmp_path_factory.mktemp("docs")
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going", "-c", "docs",
               "-d", str(folder / "pages"), ".", str(folder / "site")]  # fmt: skip
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert made.returncode == 0, made.stderr
    return {file.resolve(): Page(file) for file in (folder / "site").rglob("*.html")}


def test_every_page_of_the_repository_is_on_it(site: dict[Path, Page]) -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    made = {str(file) for file in site}
    missing = [page for page in pages if not any(name.endswith(shown(page)) for name in made)]
    assert not missing
    assert len(pages) > 60


def shown(page: Path) -> str:
    return "/site/" + str(page.relative_to(ROOT).with_suffix(".html"))


def test_it_loads_nothing_from_elsewhere(site: dict[Path, Page]) -> None:
    loaded = {address for page in site.values() for address in page.loads}
    assert loaded
    assert {address for address in loaded if urlsplit(address).netloc} == set()
    styles = [file for page in site for file in page.parent.glob("_static/**/*.css")]
    assert styles
    assert not [file for file in styles if "url(http" in file.read_text() or "@import" in file.read_text()]


def test_no_link_is_dead(site: dict[Path, Page]) -> None:
    dead = []
    for file, page in site.items():
        for link in page.links + page.loads:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            there = target.exists() and (
                not parts.fragment or target not in site or unquote(parts.fragment) in site[target].ids
            )
            if not there:
                dead.append(f"{file.name}: {link}")
    assert not dead


def test_a_state_diagram_is_a_table_of_its_transitions(site: dict[Path, Page]) -> None:
    (payments,) = [page for file, page in site.items() if file.name == "payments.html"]
    text = payments.file.read_text()
    assert text.count('class="transitions') == 4
    assert "the bank decides for the payer" in text
    assert "stateDiagram" not in text


def test_what_is_no_state_diagram_is_refused() -> None:
    assert transitions("stateDiagram-v2\n  [*] --> open\n  open --> won: the bank decides\n") == [
        ("[*]", "open", ""),
        ("open", "won", "the bank decides"),
    ]
    with pytest.raises(ValueError, match="flowchart"):
        transitions("flowchart TD\n  a --> b")
    with pytest.raises(ValueError, match="no transition: 'note'"):
        transitions("stateDiagram-v2\n  [*] --> open\nnote")
