"""Server-sent events, as anybody may write them. Source: the HTML standard, 9.2.6."""

from __future__ import annotations

import re

MOST_EVENT_BYTES = 4 << 20
_LINE_END = re.compile(rb"\r\n|\n|\r")


class EventTooLarge(Exception):
    """An event without an end."""


class EventReader:
    """``feed`` returns the data of each event that is whole now; comments and empty events are nothing."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """Raises EventTooLarge."""
        text = self._rest + piece
        held = b"\r" if text.endswith(b"\r") else b""  # a line feed that belongs to it may follow
        *lines, rest = _LINE_END.split(text[: len(text) - len(held)])
        self._rest = rest + held
        found = [data for line in lines if (data := self._line(line)) is not None]
        if self._size + len(self._rest) > MOST_EVENT_BYTES:
            raise EventTooLarge
        return found

    def _line(self, line: bytes) -> bytes | None:
        """The event's data if this line ends it."""
        if not line:
            data, self._data, self._size = self._data, [], 0
            return b"\n".join(data) if data else None
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
            self._size += len(value) + 1
        return None
