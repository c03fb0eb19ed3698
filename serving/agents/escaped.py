"""Regular expressions and texts as they look inside a JSON string, in xgrammar's EBNF. Pure.

A tool's call is JSON, so a grammar for its one text must hold for the text as JSON writes it: a line feed is
``\\n``, a quote ``\\"``. Control characters have their short escapes only; one without cannot be written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

SHORT = {8: r"\b", 9: r"\t", 10: r"\n", 12: r"\f", 13: r"\r", 34: r"\"", 92: r"\\"}
"""What JSON must escape, by code point."""
MOST_CODE = 0x10FFFF
CATEGORIES = {
    "CATEGORY_DIGIT": [(48, 57)],
    "CATEGORY_WORD": [(48, 57), (65, 90), (95, 95), (97, 122)],
    "CATEGORY_SPACE": [(9, 13), (32, 32)],
}
"""As in ASCII; those of their opposites begin with CATEGORY_NOT_."""
Ranges = list[tuple[int, int]]

_parse: Any = getattr(re, "_parser").parse  # noqa: B009 - its tree is what Python itself compiles


class NotRegular(ValueError):
    """It looks around, back or at an edge, or is no regular expression."""


def text(letters: str) -> str:
    """As an EBNF literal."""
    escaped = "".join(SHORT.get(ord(letter), letter) for letter in letters)
    if any(ord(letter) < 32 for letter in escaped):
        raise NotRegular
    return '"' + escaped.replace("\\", "\\\\").replace('"', '\\"') + '"'


def any_case(letters: str) -> str:
    return "(" + " ".join(_class(_both_cases(ord(letter))) for letter in letters) + ")"


def regex(pattern: str, flags: str = "") -> str:
    """As an EBNF expression. Raises NotRegular."""
    known = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL, "x": re.VERBOSE}
    asked = 0
    for flag in flags:
        asked |= known.get(flag, 0)
    try:
        tree = _parse(pattern, asked)
    except (re.error, RecursionError, OverflowError):
        raise NotRegular from None
    if tree.state.flags & re.IGNORECASE:
        return _Writer(ignores_case=True, all_lines=bool(asked & re.DOTALL)).sequence(tree)
    return _Writer(ignores_case=False, all_lines=bool(tree.state.flags & re.DOTALL)).sequence(tree)


class _Writer:
    def __init__(self, *, ignores_case: bool, all_lines: bool) -> None:
        self._ignores_case = ignores_case
        self._all_lines = all_lines

    def sequence(self, nodes: Iterable[Any]) -> str:
        parts = [self._node(str(operation), value) for operation, value in nodes]
        return "(" + (" ".join(parts) or '""') + ")"

    def _node(self, operation: str, value: Any) -> str:
        match operation:
            case "LITERAL":
                return _class(_both_cases(value)) if self._ignores_case else text(chr(value))
            case "NOT_LITERAL":
                return _class(_inverted(_both_cases(value) if self._ignores_case else [(value, value)]))
            case "ANY":
                return _class([(0, MOST_CODE)] if self._all_lines else _inverted([(10, 10)]))
            case "IN":
                return _class(self._members(value))
            case "BRANCH":
                return "(" + " | ".join(self.sequence(branch) for branch in value[1]) + ")"
            case "SUBPATTERN":
                return self.sequence(value[-1])
            case "ATOMIC_GROUP":
                return self.sequence(value)
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                least, most, repeated = value
                return self.sequence(repeated) + _quantifier(
                    int(least), None if str(most) == "MAXREPEAT" else most
                )
            case "AT" if str(value) in ("AT_BEGINNING", "AT_END", "AT_BEGINNING_STRING", "AT_END_STRING"):
                return '""'  # a terminal is matched as a whole
        raise NotRegular

    def _members(self, members: Sequence[Any]) -> Ranges:
        ranges: Ranges = []
        inverted = False
        for operation, value in members:
            match str(operation):
                case "NEGATE":
                    inverted = True
                case "LITERAL":
                    ranges += _both_cases(value) if self._ignores_case else [(value, value)]
                case "RANGE":
                    ranges.append(value)
                case "CATEGORY":
                    name = str(value)
                    known = CATEGORIES[name.replace("_NOT", "")]
                    ranges += _inverted(known) if "_NOT" in name else known
                case _:
                    raise NotRegular
        if self._ignores_case:
            ranges = [one for low, high in ranges for one in _cases_of_range(low, high)]
        return _inverted(ranges) if inverted else ranges


def _quantifier(least: int, most: int | None) -> str:
    match least, most:
        case 0, None:
            return "*"
        case 1, None:
            return "+"
        case 0, 1:
            return "?"
        case _, None:
            return f"{{{least},}}"
    return f"{{{least},{most}}}"


def _class(ranges: Ranges) -> str:
    """Of letters: the plain ones as a class, those that JSON escapes beside it."""
    plain: Ranges = []
    for low, high in ranges:
        start = max(low, 32)
        for special in (34, 92):
            if start <= special <= high:
                plain.append((start, special - 1))
                start = special + 1
        plain.append((start, high))
    members = "".join(_range(low, high) for low, high in plain if low <= high)
    escaped = [code for code in SHORT if any(low <= code <= high for low, high in ranges)]
    choices = [f"[{members}]"] if members else []
    choices += ['"' + SHORT[code].replace("\\", "\\\\").replace('"', '\\"') + '"' for code in escaped]
    if not choices:
        raise NotRegular
    return choices[0] if len(choices) == 1 else "(" + " | ".join(choices) + ")"


def _range(low: int, high: int) -> str:
    return _code(low) if low == high else f"{_code(low)}-{_code(high)}"


def _code(code: int) -> str:
    letter = chr(code)
    if letter.isascii() and letter.isalnum():
        return letter
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _inverted(ranges: Ranges) -> Ranges:
    found: Ranges = []
    start = 0
    for low, high in sorted(ranges):
        if low > start:
            found.append((start, low - 1))
        start = max(start, high + 1)
    return [*found, (start, MOST_CODE)] if start <= MOST_CODE else found


def _both_cases(code: int) -> Ranges:
    letter = chr(code)
    return [(ord(case), ord(case)) for case in sorted({letter.lower(), letter.upper(), letter}) if len(case) == 1]


def _cases_of_range(low: int, high: int) -> Ranges:
    """Letters of ASCII have two."""
    found = [(low, high)]
    for first, last, shift in ((65, 90, 32), (97, 122, -32)):
        if low <= last and high >= first:
            found.append((max(low, first) + shift, min(high, last) + shift))
    return found
