"""The one text in a custom tool's call, read from the JSON around it as it comes. Pure."""

from __future__ import annotations

import json
import re

from serving.agents.tools import INPUT

_BEGIN = re.compile(r'\s*\{\s*"' + INPUT + r'"\s*:\s*"')
_HELD = re.compile(r"(?:\\(?:u[0-9a-fA-F]{0,3})?|\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?)\Z")
"""What may go on: an escape, or the first half of a letter in two."""
_BODY = re.compile(r'(?:[^"\\]|\\.)*', re.DOTALL)


def text_of(arguments: str) -> str:
    """The text; what the model wrote instead of an object with one text is the text itself."""
    try:
        found = json.loads(arguments)
    except ValueError:
        return OneText().feed(arguments) if _BEGIN.match(arguments) else arguments
    if isinstance(found, dict) and isinstance(found.get(INPUT), str):
        return str(found[INPUT])
    return arguments


def arguments_of(text: str) -> str:
    return json.dumps({INPUT: text}, ensure_ascii=False)


class OneText:
    """``feed`` takes what came of the arguments, and returns what is new of the text."""

    def __init__(self) -> None:
        self._rest = ""
        self._began = False
        self._ended = False

    def feed(self, arguments: str) -> str:
        if self._ended:
            return ""
        self._rest += arguments
        if not self._began:
            begin = _BEGIN.match(self._rest)
            if begin is None:
                return ""
            self._began, self._rest = True, self._rest[begin.end() :]
        held = _HELD.search(self._rest)
        ready = self._rest if held is None or _is_escaped(self._rest, held.start()) else self._rest[: held.start()]
        body = _BODY.match(ready)
        found = body.group() if body is not None else ""
        self._ended = len(found) < len(ready)
        self._rest = self._rest[len(found) :]
        try:
            text = str(json.loads(f'"{found}"', strict=False))
        except ValueError:
            self._ended = True
            return ""
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _is_escaped(text: str, at: int) -> bool:
    """Whether the backslash there is the second of a pair."""
    before = len(text[:at]) - len(text[:at].rstrip("\\"))
    return before % 2 == 1
