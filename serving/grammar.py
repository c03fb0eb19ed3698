"""How large a grammar may be that an answer is to follow. Pure.

It is compiled in the engine's process, which nobody can call off: what takes xgrammar minutes would take them from
every customer. The limits are near OpenAI's for structured outputs; docs/decisions/0020 has the times behind them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MOST_BYTES = 120_000
"""Of a schema, without what only explains: titles and descriptions."""
MOST_PROPERTIES = 5_000
MOST_PROPERTIES_OF_AN_OBJECT = 250
MOST_CHOICES = 5_000
"""In all ``enum`` together, or the answers to choose from."""
MOST_POSITIONS = 2_000
"""Places of a pattern or a length, at each of which every token of the vocabulary is tried."""
MOST_POSITIONS_OF_A_REPETITION = 200
"""xgrammar tells no more of them apart."""
BYTES_OF_A_POSITION = 10
EXPLANATIONS = frozenset({"title", "description", "$comment"})
TOO_MANY_POSITIONS = "Its patterns, repetitions and different lengths of strings are too many or too long in all."
REPETITION = re.compile(r"\{\s*(\d+)\s*(?:,\s*(\d*)\s*)?\}")


def too_large(schema: str | Mapping[str, Any] | Sequence[str]) -> str | None:
    """Why the schema, the structural tag or the list of choices is not compiled."""
    document = _parsed(schema) if isinstance(schema, str) else schema
    try:
        size = _bytes(json.dumps(_unexplained(document), ensure_ascii=False))
    except RecursionError:
        return "A schema is nested too deeply."
    if size > MOST_BYTES:
        return f"A schema has at most {MOST_BYTES} bytes without its descriptions, this one {size}."
    counted = _Counted()
    for name, value in _members(document):
        counted.take(name, value)
    return counted.refusal()


def too_long(grammar: str) -> str | None:
    """Why the grammar or the regular expression is not compiled."""
    counted = _Counted()
    counted.take("pattern", grammar)
    return counted.refusal()


class _Counted:
    """What is compiled once, however often it comes, is counted once."""

    def __init__(self) -> None:
        self._most_properties = self._properties = self._choices = self._positions = 0
        self._seen: set[object] = set()

    def take(self, name: str, value: Any) -> None:
        if isinstance(value, dict):
            self._length(value.get("minLength"), value.get("maxLength"))
            if name == "properties":
                self._properties += len(value)
                self._most_properties = max(self._most_properties, len(value))
            elif name == "patternProperties":
                for pattern in value:
                    self._pattern(pattern)
        elif name in ("enum", "") and isinstance(value, list):
            self._choices += len(value)
        elif name in ("pattern", "grammar") and isinstance(value, str):
            self._pattern(value)

    def refusal(self) -> str | None:
        if self._most_properties > MOST_PROPERTIES_OF_AN_OBJECT:
            return f"An object of a schema has at most {MOST_PROPERTIES_OF_AN_OBJECT} properties."
        if self._properties > MOST_PROPERTIES:
            return f"A schema has at most {MOST_PROPERTIES} properties, this one {self._properties}."
        if self._choices > MOST_CHOICES:
            return f"There are at most {MOST_CHOICES} values to choose from, here {self._choices}."
        return TOO_MANY_POSITIONS if self._positions > MOST_POSITIONS else None

    def _length(self, least: object, most: object) -> None:
        pair = tuple(number if isinstance(number, int | float) else 0 for number in (least, most))
        if pair not in self._seen:
            self._seen.add(pair)
            self._positions += _places(max(pair))

    def _pattern(self, pattern: str) -> None:
        if pattern in self._seen:
            return
        self._seen.add(pattern)
        self._positions += _bytes(pattern) // BYTES_OF_A_POSITION
        for least, most in REPETITION.findall(pattern):
            self._positions += _places(float(most or least))


def _places(repeated: float) -> int:
    return int(min(repeated, MOST_POSITIONS_OF_A_REPETITION)) if repeated > 0 else 0


def _bytes(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))


def _parsed(text: str) -> Any:
    """Itself if it is no JSON: vLLM will complain of it."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _unexplained(document: Any) -> Any:
    """A property may have such a name: what it has is no text."""
    if isinstance(document, dict):
        return {
            name: _unexplained(value)
            for name, value in document.items()
            if not (name in EXPLANATIONS and isinstance(value, str))
        }
    return [_unexplained(one) for one in document] if isinstance(document, list) else document


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
