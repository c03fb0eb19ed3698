"""Cutting a stream of server-sent events where its end begins.

A stream ends with the event that its endpoint's clients wait for (``serving.catalog.endpoints``) and, behind it, a
comment that carries the meter. The gateway passes everything before on as it comes, and keeps the end until the
charge is durable. Nothing that a model writes can look like the end: inside a JSON string a newline is escaped, so
every mark, which begins a line behind an empty one, is the replica's own.
"""

from collections.abc import Sequence

METER = b": meter "
_BLANK = b"\n\n"


class StreamTail:
    """``feed`` returns what may be passed on; ``end`` and ``meter`` hold what was kept, once all was fed."""

    def __init__(self, ends: Sequence[bytes]) -> None:
        self._marks = (*ends, METER)
        self._first_bytes = tuple({mark[:1] for mark in self._marks})
        self._longest = max(map(len, self._marks))
        self._kept = b""
        self._at_event_start = True
        self._ending = False

    def feed(self, data: bytes) -> bytes:
        if self._ending:
            self._kept += data
            return b""
        if self._kept:
            data, self._kept = self._kept + data, b""
        cut = self._find_end(data)
        if cut is None:
            self._at_event_start = data.endswith(_BLANK) if data else self._at_event_start
            return data
        self._kept = data[cut:]
        self._at_event_start = True
        return data[:cut]

    @property
    def end(self) -> bytes:
        """The end of the stream as the client shall see it: without the meter."""
        return self._kept[: self._meter_at()]

    @property
    def meter(self) -> bytes | None:
        """The meter's JSON; None if the stream broke before it came."""
        start = self._meter_at()
        stop = self._kept.find(_BLANK, start)
        if start == len(self._kept) or stop < 0:
            return None
        return self._kept[start + len(METER) : stop]

    def _meter_at(self) -> int:
        if self._kept.startswith(METER):
            return 0
        found = self._kept.find(_BLANK + METER)
        return len(self._kept) if found < 0 else found + len(_BLANK)

    def _find_end(self, data: bytes) -> int | None:
        """Where a mark begins, or what may become one when more comes."""
        if self._at_event_start and data.startswith(self._first_bytes) and self._may_end(data):
            return 0
        start = data.find(_BLANK)
        while start >= 0:
            start += len(_BLANK)
            if start < len(data) and self._may_end(data[start : start + self._longest]):
                return start
            start = data.find(_BLANK, start)
        if data.endswith(b"\n") and not data.endswith(_BLANK):
            return len(data) - 1
        return None

    def _may_end(self, head: bytes) -> bool:
        if head.startswith(self._marks):
            self._ending = True
            return True
        return any(mark.startswith(head) for mark in self._marks)
