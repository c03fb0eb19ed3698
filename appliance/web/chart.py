"""Charts as SVG, drawn on the server: read without colour, and beside a table of the same numbers. Pure."""

from collections.abc import Sequence

from markupsafe import Markup, escape

WIDTH, HEIGHT = 720, 180
SHARE_WIDTH, SHARE_HEIGHT = 120, 12
LEAST_HEIGHT = 1.5
"""Something is not nothing."""
GAP_SHARE = 0.3
"""Of a bar's place that is left free."""


def bars(values: Sequence[int], title: str) -> Markup:
    """A bar each; its height is the value's share of the highest. Styled by the page, which labels the axis."""
    most, place = max(values, default=0), WIDTH / max(len(values), 1)
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT + 1}" role="img" aria-label="{escape(title)}">',
        f'<line x1="0" y1="{HEIGHT}" x2="{WIDTH}" y2="{HEIGHT}"/>',
    ]
    for number, value in enumerate(values):
        if value:
            height = max(round(value / most * HEIGHT, 1), LEAST_HEIGHT)
            x, width = round((number + GAP_SHARE / 2) * place, 1), round(place * (1 - GAP_SHARE), 1)
            parts.append(f'<rect x="{x}" y="{round(HEIGHT - height, 1)}" width="{width}" height="{height}"/>')
    return Markup("".join([*parts, "</svg>"]))  # noqa: S704 -- numbers of ours, and an escaped title


def share(value: int, highest: int) -> Markup:
    """A bar that lies beside the number that it shows: it says nothing that the number does not."""
    width = max(round(value / highest * SHARE_WIDTH, 1), LEAST_HEIGHT) if value else 0
    return Markup(  # noqa: S704 -- numbers of ours
        f'<svg class="share" viewBox="0 0 {SHARE_WIDTH} {SHARE_HEIGHT}" aria-hidden="true">'
        f'<rect width="{width}" height="{SHARE_HEIGHT}"/></svg>'
    )
