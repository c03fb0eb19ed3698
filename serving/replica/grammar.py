"""How large a grammar may be that an answer is to follow. Pure.

It is compiled in the engine's process, which nobody can call off: what takes xgrammar minutes would take them from
every customer. The limits are near OpenAI's for structured outputs; docs/decisions/0020 has the times behind them.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MOST_BYTES = 120_000
"""Of a schema, without what only explains: titles and descriptions."""
MOST_BYTES_AS_SENT = 500_000
MOST_BYTES_TOGETHER = 32 * 1024 * 1024
"""Of one request: each of its sequences takes the grammar to the engine's process."""
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
VALUES = frozenset({"const", "enum"})
REPETITION = re.compile(r"\{\s*+(\d++)\s*+(?:,\s*+(\d*+)\s*+)?\}")
LARK_REPETITION = re.compile(r"~\s*+(\d++)(?:\s*+\.\.\s*+(\d++))?")
LARK_SCHEMA = re.compile(r"%json\s*+")
LARK_UNCOUNTED = re.compile(r"%(?:regex|lark)\b")
TOO_MANY_POSITIONS = (
    "The schema's or grammar's patterns, repetitions and lengths of strings are too many or too long."
)
TOO_MANY_BYTES = f"A schema or grammar has at most {MOST_BYTES_AS_SENT} bytes."
TOO_MANY_TOGETHER = "The schema or grammar is too large for so many answers: ask for fewer in one request."

_json = json.JSONDecoder()


def too_large(schema: str | Mapping[str, Any] | Sequence[str]) -> str | None:
    """Why the schema, the structural tag or the list of choices is not compiled."""
    if size_of(schema) > MOST_BYTES_AS_SENT:
        return TOO_MANY_BYTES
    counted = _Counted()
    try:
        counted.take_schema(_parsed(schema) if isinstance(schema, str) else schema)
    except RecursionError:
        return "A schema is nested too deeply."
    return counted.refusal()


def too_long(grammar: str) -> str | None:
    """Why the regular expression or the grammar is not compiled. All are read as if they were Lark's."""
    if size_of(grammar) > MOST_BYTES_AS_SENT:
        return TOO_MANY_BYTES
    counted = _Counted()
    try:
        counted.take_grammar(grammar)
    except (ValueError, RecursionError):
        return "The grammar has a %json that is no schema, or a %regex or %lark."
    return counted.refusal()


def size_of(grammar: str | Mapping[str, Any] | Sequence[str]) -> int:
    """Bytes, as it goes to the engine's process; endless if it is nested too deeply to be written."""
    try:
        text = grammar if isinstance(grammar, str) else json.dumps(grammar, ensure_ascii=False)
    except RecursionError:
        return sys.maxsize
    return len(text.encode(errors="surrogatepass"))


class _Counted:
    """What is compiled once, however often it comes, is counted once."""

    def __init__(self) -> None:
        self._bytes = self._most_properties = self._properties = self._choices = self._positions = 0
        self._seen: set[object] = set()

    def take_schema(self, schema: Any) -> None:
        """Raises RecursionError."""
        self._bytes += size_of(_unexplained(schema))
        for name, value in _members(schema):
            self._take(name, value)

    def take_pattern(self, pattern: str) -> None:
        if pattern in self._seen:
            return
        self._seen.add(pattern)
        self._positions += len(pattern.encode(errors="surrogatepass")) // BYTES_OF_A_POSITION
        for least, most in REPETITION.findall(pattern):
            self._positions += _places(float(most or least))

    def take_grammar(self, grammar: str) -> None:
        """Raises ValueError for a schema in it that is none, and RecursionError."""
        if LARK_UNCOUNTED.search(grammar):
            raise ValueError
        left, end = [], 0
        while found := LARK_SCHEMA.search(grammar, end):
            left.append(grammar[end : found.start()])
            schema, end = _json.raw_decode(grammar, found.end())
            self.take_schema(schema)
        text = "".join([*left, grammar[end:]])
        self.take_pattern(text)
        for least, most in LARK_REPETITION.findall(text):
            self._positions += _places(float(most or least))

    def _take(self, name: str, value: Any) -> None:
        if isinstance(value, dict):
            self._take_lengths(value.get("minLength"), value.get("maxLength"))
            if name == "properties":
                self._properties += len(value)
                self._most_properties = max(self._most_properties, len(value))
            elif name == "patternProperties":
                for pattern in value:
                    self.take_pattern(pattern)
        elif name in ("enum", "") and isinstance(value, list):
            self._choices += len(value)
        elif name in ("pattern", "grammar") and isinstance(value, str):
            self.take_pattern(value)

    def refusal(self) -> str | None:
        if self._bytes > MOST_BYTES:
            return f"A schema has at most {MOST_BYTES} bytes without its descriptions, this one {self._bytes}."
        if self._most_properties > MOST_PROPERTIES_OF_AN_OBJECT:
            return f"An object of a schema has at most {MOST_PROPERTIES_OF_AN_OBJECT} properties."
        if self._properties > MOST_PROPERTIES:
            return f"A schema has at most {MOST_PROPERTIES} properties, this one {self._properties}."
        if self._choices > MOST_CHOICES:
            return f"There are at most {MOST_CHOICES} values to choose from, here {self._choices}."
        return TOO_MANY_POSITIONS if self._positions > MOST_POSITIONS else None

    def _take_lengths(self, least: object, most: object) -> None:
        pair = tuple(number if isinstance(number, int | float) else 0 for number in (least, most))
        if pair not in self._seen:
            self._seen.add(pair)
            self._positions += _places(max(pair))


def _places(repeated: float) -> int:
    return int(min(repeated, MOST_POSITIONS_OF_A_REPETITION)) if repeated > 0 else 0


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
            name: value if name in VALUES else _unexplained(value)
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
