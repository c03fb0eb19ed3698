"""On the site a state diagram is the table of its transitions: no script draws it, and every reader can read it.

Where the repository is browsed, Mermaid draws the same text.
"""

import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

KIND = "stateDiagram-v2"
OUTSIDE = "[*]"
TRANSITION = re.compile(r"\s*(\S+) --> (\S+?)(?:: (.+))?")


def transitions(diagram: str) -> list[tuple[str, str, str]]:
    """Each one's state before, state after, and what happened.

    Raises:
        ValueError: it is no state diagram, or has a line that is no transition.
    """
    first, *lines = diagram.strip().splitlines()
    if first.strip() != KIND:
        raise ValueError(f"{first!r}: only {KIND} can be shown")
    found = [TRANSITION.fullmatch(line) for line in lines]
    if None in found:
        raise ValueError(f"no transition: {lines[found.index(None)]!r}")
    return [(match[1], match[2], match[3] or "") for match in found if match]


class StateDiagram(SphinxDirective):
    has_content = True

    def run(self) -> list[nodes.Node]:
        try:
            rows = transitions("\n".join(self.content))
        except ValueError as error:
            raise self.error(str(error)) from error
        body = nodes.tbody()
        for before, after, why in rows:
            if after != OUTSIDE:
                body += row("the beginning" if before == OUTSIDE else before, after, why)
        group = nodes.tgroup(cols=3)
        group += [nodes.colspec(colwidth=width) for width in (15, 15, 70)]
        group += nodes.thead("", row("from", "to", "when"))
        group += body
        return [nodes.table("", group, classes=["transitions"])]


def row(*cells: str) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph(text=cell)) for cell in cells))


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("mermaid", StateDiagram)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
