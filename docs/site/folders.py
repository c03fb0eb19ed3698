"""Pages that no list of Sphinx names: those of a folder are below its README, others at the end of the index.

So a decision or a runbook is a file and a link, as where the repository is browsed.
"""

from pathlib import PurePosixPath

from sphinx.application import Sphinx

INDEX = "docs/index"
README = "README"


def complete(app: Sphinx, docname: str, source: list[str]) -> None:
    """Adds to a page's text the list that it lacks."""
    pages = sorted(app.env.found_docs)
    if docname == INDEX:
        source[0] += toctree(unnamed(source[0], pages), "More")
    elif docname.startswith("docs/") and PurePosixPath(docname).name == README:
        source[0] += toctree(below(docname, pages), "")


def below(readme: str, pages: list[str]) -> list[str]:
    folder = PurePosixPath(readme).parent
    return [PurePosixPath(page).name for page in pages if PurePosixPath(page).parent == folder and page != readme]


def unnamed(index: str, pages: list[str]) -> list[str]:
    """Pages of docs/ and folders' READMEs that the index has in no list, relative to it."""
    named = {word.strip("<>") for word in index.split()}
    inside = [str(PurePosixPath(page).relative_to("docs")) for page in pages if page.startswith("docs/")]
    own = [page for page in inside if "/" not in page or page.endswith(f"/{README}")]
    return [page for page in own if page not in named and f"docs/{page}" != INDEX]


def toctree(pages: list[str], caption: str) -> str:
    """Of Sphinx, unseen in the page itself; empty if there are none."""
    options = [":hidden:", *([f":caption: {caption}"] if caption else [])]
    return "\n".join(["\n", "```{toctree}", *options, *pages, "```", ""]) if pages else ""


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", complete)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
