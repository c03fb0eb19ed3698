"""A request's body as its fields, of which only those that speak of tools are read. Pure."""

from __future__ import annotations

import json
from typing import Any, Protocol

import msgspec

from serving.agents.tools import Fields

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_value = msgspec.json.Decoder()
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What vLLM will complain of."""


class Answer(Protocol):
    """The way back of one request's answer."""

    def whole(self, document: Fields) -> None:
        """Changes it in place."""
        ...

    def event(self, name: str, document: Fields) -> list[tuple[str, Fields]]:
        """What the client gets instead of one event of a stream; ``name`` is empty where events have none."""
        ...

    def concerns(self, event: bytes) -> bool:
        """Whether the event must be read at all; those that need not pass as they are."""
        ...


class Body:
    """``get`` reads a field, ``put`` writes one; all others stay as they were written."""

    def __init__(self, raw: bytes) -> None:
        """Raises what UNREADABLE names."""
        self._fields = _fields.decode(raw)
        self._changed = False

    def get(self, name: str) -> Any:
        return _value.decode(self._fields[name]) if name in self._fields else None

    def has_any(self, name: str, marks: tuple[bytes, ...]) -> bool:
        """Whether one of ``marks`` stands anywhere in the field."""
        raw = bytes(self._fields.get(name, b""))
        return any(mark in raw for mark in marks)

    def put(self, name: str, value: Any) -> None:
        self._fields[name] = msgspec.Raw(dumped(value))
        self._changed = True

    def drop(self, *names: str) -> None:
        for name in names:
            self._changed |= self._fields.pop(name, None) is not None

    def written(self, raw: bytes) -> bytes:
        return msgspec.json.encode(self._fields) if self._changed else raw


def dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def objects(value: Any) -> list[Fields] | None:
    """The list of objects; None if it is none, which is for vLLM to say."""
    if isinstance(value, list) and all(isinstance(one, dict) for one in value):
        return value
    return None
