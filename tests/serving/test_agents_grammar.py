"""Grammars of custom tools inside the JSON of a call, as xgrammar takes them."""

from __future__ import annotations

import json

import pytest

from serving.agents.lark import NotUnderstood, lark_grammar, regex_grammar
from serving.agents.tools import Tool, Toolbox, enforcing
from serving.replica.grammar import too_large
from tests.clients.shapes import shape

xgrammar = pytest.importorskip("xgrammar")
from xgrammar.testing import _is_grammar_accept_string as accepts  # noqa: E402 - what xgrammar tests itself by

CALCULATION = r"""
start: expr
expr: term (SP ADD SP term)* -> add

    // or

    | term
term: INT
SP: " "
ADD: "+"   // comments are nothing
%import common.INT
"""
IGNORING = 'start: "a"i NAME+\nNAME: ("x".."z")~2..3\n%import common (WS, LF)\n%ignore WS\n'
PATCH = next(tool for tool in shape("codex-first-turn")[1]["tools"] if tool.get("name") == "apply_patch")


def inside(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def holds(grammar: str, text: str) -> bool:
    return bool(accepts(xgrammar.Grammar.from_ebnf(grammar), inside(text)))


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ('*** Begin Patch\n*** Add File: a"b\\c.py\n+print("\t é")\n*** End Patch\n', True),
        ("*** Begin Patch\n*** Update File: a\n@@ def\n-x\n+y\n z\n*** End of File\n*** End Patch", True),
        ("*** Begin Patch\n*** End Patch\n", False),
        ("print()", False),
    ],
)
def test_codexs_patches(text: str, good: bool) -> None:
    assert holds(lark_grammar(PATCH["format"]["definition"]), text) is good


@pytest.mark.parametrize(
    ("grammar", "good", "bad"),
    [
        (CALCULATION, "4 + 12 + 1", "4+12"),
        (IGNORING, "  A xyz\nyy", "a x"),
        ("start: b\nb: [\"x\"] c?\nc.2: /y+/i", "xYy", "yx"),
        ('?start: "\\"" | "\\\\" | "\\n"', "\\", "n"),
    ],
)  # fmt: skip
def test_what_lark_can_say(grammar: str, good: str, bad: str) -> None:
    written = lark_grammar(grammar)
    assert holds(written, good)
    assert not holds(written, bad)


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (r"\d{4}-\d\d", "2020-01", "20-1"), (r"[^x]+", 'a"\n\\', "ax"), (r"(?i)abc|d?", "aBC", "xx"),
        (r"^a\.b$", "a.b", "acb"), (r"\w+\s\S*?", 'ab "', "é"), (r'"[^"\\]*"', '"a b"', '"a'),
        (r"(?:a|b){2,}[\d_]", "abb_", "a1"),
    ],
)  # fmt: skip
def test_regular_expressions(pattern: str, good: str, bad: str) -> None:
    assert holds(regex_grammar(pattern), good)
    assert not holds(regex_grammar(pattern), bad)


@pytest.mark.parametrize(
    ("grammar", "what"),
    [
        ("start: a", "no rule or terminal `a`"), ("a: \"x\"", "no rule `start`"), ("start: /a(?=b)/", "(?=b)"),
        ('start: "x" %declare B', "%declare"), ("%import python.name\nstart: name", "%import"), ("foo", "foo"),
        ("start{x}: x", "{x}"), ("%import common.SQL_COMMENT\nstart: SQL_COMMENT", "common.SQL_COMMENT"),
        ("start: " + "(" * 200 + '"a"' + ")" * 200, "parentheses"), ('start: ("a"', "`(`"),
    ],
)  # fmt: skip
def test_what_is_not_served_is_named(grammar: str, what: str) -> None:
    with pytest.raises(NotUnderstood) as caught:
        lark_grammar(grammar)
    assert what in str(caught.value)


def test_the_grammar_takes_the_place_of_the_schema_and_is_counted() -> None:
    toolbox = Toolbox()
    toolbox.add_custom(Tool("custom", "apply_patch"), None, PATCH["format"])
    (function,) = toolbox.functions
    schema = {"type": "json_schema", "json_schema": function.parameters, "style": "json"}
    other = {"type": "json_schema", "json_schema": {"type": "object"}, "style": "json"}
    tags = [
        {"type": "tag", "begin": mark, "content": one, "end": ">"} for mark, one in (("<", schema), ("[", other))
    ]
    tag = {"type": "structural_tag", "format": {"type": "or", "elements": tags}}
    found = enforcing(tag, toolbox.grammars)
    first, second = found["format"]["elements"]
    assert second["content"] == other
    grammar = xgrammar.Grammar.from_structural_tag(json.dumps(found))
    good = '<{"input": "' + inside("*** Begin Patch\n*** Delete File: a\n*** End Patch") + '"}>'
    assert accepts(grammar, good)
    assert not accepts(grammar, '<{"input": "x"}>')
    assert too_large(found) is None
    first["content"]["elements"][1]["grammar"] = "root ::= " + "[a-z]{1,200} " * 20
    assert too_large(found) is not None
