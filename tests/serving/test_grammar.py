from __future__ import annotations

import json
from typing import Any

import pytest

from serving.replica.grammar import (
    BYTES_OF_A_POSITION,
    MOST_BYTES,
    MOST_CHOICES,
    MOST_POSITIONS,
    MOST_PROPERTIES,
    MOST_PROPERTIES_OF_AN_OBJECT,
    too_large,
    too_long,
)


def _object(properties: int) -> dict[str, Any]:
    return {"type": "object", "properties": {f"k{number}": {} for number in range(properties)}}


def _strings(lengths: list[int]) -> dict[str, Any]:
    return {"properties": {f"k{one}": {"type": "string", "maxLength": most} for one, most in enumerate(lengths)}}


def _nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(depth):
        schema = {"items": schema}
    return schema


def _tool(number: int) -> dict[str, Any]:
    argument = {"type": "string", "description": "说明 " * 40, "title": "T"}
    parameters = {"type": "object", "properties": {f"argument_{one}": argument for one in range(7)}}
    return {"properties": {"name": {"const": f"tool_{number}"}, "parameters": parameters}}


EXPLAINED = {"description": "x" * 60_000}
DESCRIPTION = {"properties": {"description": {"const": "x" * MOST_BYTES}}}


@pytest.mark.parametrize(
    ("schema", "word"),
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
        ({"const": "ü" * (MOST_BYTES // 2 - 100)}, None),
        ({"anyOf": [_tool(number) for number in range(100)]}, None),
        (DESCRIPTION, "bytes"),
        ({"const": {"title": "x" * MOST_BYTES}}, "bytes"),
        ({"enum": [{"description": "x" * MOST_BYTES}]}, "bytes"),
        ({"properties": {str(one): EXPLAINED for one in range(8)}}, None),
        ({"properties": {str(one): EXPLAINED for one in range(9)}}, "bytes"),
        ({"x": [[]] * 1_000_000}, "bytes"),
        (_strings([50, 100, 100, 255, 255, 500, 1000, 2000] * 10), None),
        (_strings([100_000 + one for one in range(20)]), "lengths"),
        (_strings([100 + one for one in range(30)]), "lengths"),
        ({"properties": {"minLength": {"type": "string"}, "maxLength": {"minLength": "x"}}}, None),
        ({"type": "string", "minLength": -1, "maxLength": 1e308}, None),
        ({"type": "string", "minLength": [], "maxLength": float("nan")}, None),
        ({"type": "string", "pattern": "a{" + "9" * 400 + "}"}, None),
        ({"pattern": r"^[a-z0-9.]+@[a-z0-9-]+\.[a-z]{2,10}$"}, None),
        ({"pattern": "[a-z0-9 ]" * 3000}, "patterns"),
        ({"anyOf": [{"pattern": "[a-z0-9 ]" * 200}] * 60}, None),
        ({"patternProperties": {f"^[a-z]{{{one}}}$": {} for one in range(100)}}, "patterns"),
        ({"format": {"type": "grammar", "grammar": "[a-z]{1,90} " * 40}}, "patterns"),
        ("[" * 10_000, None),
        (_nested(600), "deep"),
        ("\udc00", None),
    ],
)  # fmt: skip
def test_what_would_take_too_long_is_not_compiled(schema: Any, word: str | None) -> None:
    for form in (schema,) if isinstance(schema, str) else (schema, json.dumps(schema)):
        refusal = too_large(form)
        assert (refusal is None) if word is None else (word in str(refusal))


@pytest.mark.parametrize(
    ("grammar", "fits"),
    [
        ("[a-z]{3}", True),
        ('root ::= "a"', True),
        ('"a"' * (BYTES_OF_A_POSITION * MOST_POSITIONS // 3), True),
        ('"a"' * (BYTES_OF_A_POSITION * MOST_POSITIONS // 2), False),
        ("[a-z]{1,999999999}" * 5, True),
        ("|".join(f"[a-z]{{{one},}} {one}" for one in range(119)), False),
        ("a{1," + " " * 400_000, False),
        ("{" * 19_000, True),
        ("x" * 10_000_000, False),
        ("start: " + " | ".join(f'"a" "b"~{one}..{one + 100}' for one in range(50)), False),
        ('start: a~3 | /[a-z]{1,20}/\na: %json {"type": "string", "maxLength": 99} "x"', True),
        ("\n".join(f'r{one}: %json {{"maxLength": {1000 + one}}}' for one in range(20)), False),
        ("start: %json " + json.dumps(_object(MOST_PROPERTIES_OF_AN_OBJECT + 1)), False),
        ("start: %json " + json.dumps({"anyOf": [_tool(number) for number in range(100)]}), True),
        ("// ::=\nstart: %json " + json.dumps(_object(MOST_PROPERTIES_OF_AN_OBJECT + 1)), False),
        ("start: %json {", False),
        ('start: %regex {"substring_words": "a"}', False),
        ("\udc00", True),
    ],
)
def test_a_grammar_or_expression_has_a_length(grammar: str, fits: bool) -> None:
    assert (too_long(grammar) is None) is fits
