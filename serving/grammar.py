"""How large a grammar may be that an answer is to follow. Pure.

It is compiled in the engine's process, which nobody can call off: what takes xgrammar minutes would take them from
every customer. The limits are near OpenAI's for structured outputs; docs/decisions/0020 has the times behind them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MOST_BYTES = 120_000
MOST_PROPERTIES = 5_000
MOST_PROPERTIES_OF_AN_OBJECT = 250
MOST_CHOICES = 2_000
"""In all ``enum`` together, or the answers to choose from."""


def too_large(grammar: str | Mapping[str, Any] | Sequence[str]) -> str | None:
    """Why the schema, structural tag, grammar, regular expression or list of choices is not compiled."""
    text = grammar if isinstance(grammar, str) else json.dumps(grammar)
    if len(text.encode(errors="surrogatepass")) > MOST_BYTES:
        return f"A schema or grammar has at most {MOST_BYTES} bytes."
    properties = choices = 0
    for name, value in _members(_parsed(text)):
        if name == "properties" and isinstance(value, dict):
            properties += len(value)
            if len(value) > MOST_PROPERTIES_OF_AN_OBJECT:
                return f"An object of a schema has at most {MOST_PROPERTIES_OF_AN_OBJECT} properties."
        elif name in ("enum", "") and isinstance(value, list):
            choices += len(value)
    if properties > MOST_PROPERTIES:
        return f"A schema has at most {MOST_PROPERTIES} properties."
    if choices > MOST_CHOICES:
        return f"There are at most {MOST_CHOICES} values to choose from."
    return None


def _parsed(text: str) -> Any:
    """None for what is no JSON: a grammar, a regular expression, or what vLLM will complain of."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _members(document: Any) -> Iterable[tuple[str, Any]]:
    """Every member of every object, by name; the whole has none."""
    left = [("", document)]
    while left:
        name, value = left.pop()
        yield name, value
        if isinstance(value, dict):
            left += value.items()
        elif isinstance(value, list):
            left += [("items", one) for one in value]
