"""What is wrong with a field, for whoever sent it, where msgspec says it in Python's words. Pure."""

from __future__ import annotations

import re

from appliance.errors import InvalidRequest

KINDS = {
    "str": "a text", "int": "a whole number", "float": "a number", "bool": "true or false",
    "array": "a list", "object": "an object", "null": "null",
}  # fmt: skip
_EXPECTED = re.compile(r"Expected `([a-z |]+)`")


def explained(error: str) -> InvalidRequest:
    """``error`` is like "Expected `int | null`, got `str` - at `$.n`"."""
    message, _, path = error.partition(" - at `$")
    field = path.rstrip("`").lstrip(".") or None
    if message.startswith("Object missing required field `"):
        name = message.split("`")[1]
        missing = f"{field}.{name}" if field else name
        return InvalidRequest(f"You must provide the field `{missing}`.", param=missing)
    return InvalidRequest(f"{f'`{field}`' if field else 'The body'} {_wanted(message)}.", param=field)


def _wanted(message: str) -> str:
    expected = _EXPECTED.match(message)
    kinds = [KINDS.get(kind) for kind in expected[1].split(" | ")] if expected else []
    if kinds and all(kinds):
        return f"must be {' or '.join(filter(None, kinds))}"
    return "cannot be used"
