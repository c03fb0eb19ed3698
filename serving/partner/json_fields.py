"""A JSON object's fields, each as it was written: what nobody here reads passes without a parse."""

from __future__ import annotations

import msgspec

Fields = dict[str, msgspec.Raw]

parse = msgspec.json.Decoder(Fields).decode
value = msgspec.json.Decoder().decode
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What both raise."""


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
