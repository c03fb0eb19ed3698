from __future__ import annotations

import json
from typing import Any

import pytest

from serving.grammar import (
    MOST_BYTES,
    MOST_CHOICES,
    MOST_PROPERTIES,
    MOST_PROPERTIES_OF_AN_OBJECT,
    too_large,
)


def _object(properties: int) -> dict[str, Any]:
    return {"type": "object", "properties": {f"k{number}": {} for number in range(properties)}}


@pytest.mark.parametrize(
    ("grammar", "word"),
    [
        (_object(MOST_PROPERTIES_OF_AN_OBJECT), None),
        (_object(MOST_PROPERTIES_OF_AN_OBJECT + 1), "properties"),
        ({"anyOf": [_object(200)] * (MOST_PROPERTIES // 200)}, None),
        ({"anyOf": [_object(200)] * (MOST_PROPERTIES // 200 + 1)}, "properties"),
        ({"enum": list(range(MOST_CHOICES))}, None),
        ({"allOf": [{"enum": list(range(MOST_CHOICES))}, {"enum": [1]}]}, "values"),
        ([str(number) for number in range(MOST_CHOICES + 1)], "values"),
        ({"properties": {"enum": {"type": "string"}, "properties": {"enum": ["a"]}}}, None),
        ({"const": "x" * MOST_BYTES}, "bytes"),
        ("ü" * MOST_BYTES, "bytes"),
        ("[a-z]{3}", None),
        ('root ::= "a"', None),
        ("[" * 10_000, None),
        ("\udc00", None),
    ],
)
def test_what_would_take_too_long_is_not_compiled(grammar: Any, word: str | None) -> None:
    for form in (grammar,) if isinstance(grammar, str) else (grammar, json.dumps(grammar)):
        refusal = too_large(form)
        assert (refusal is None) if word is None else (word in str(refusal))
