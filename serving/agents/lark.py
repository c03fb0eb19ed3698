"""Grammars of custom tools, for a text inside a JSON string, in xgrammar's EBNF. Pure.

Of Lark what OpenAI's custom tools may use: rules, terminals, strings, regular expressions, repetitions, and the
common terminals. Source: Lark's grammar reference; OpenAI's guide to custom tools.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import NoReturn

from serving.agents import escaped

COMMON = {
    "LF": r"\n", "CR": r"\r", "NEWLINE": r"(\r?\n)+", "WS": r"[ \t\f\r\n]+", "WS_INLINE": r"[ \t]+",
    "DIGIT": "[0-9]", "HEXDIGIT": "[a-fA-F0-9]", "INT": "[0-9]+", "SIGNED_INT": r"[+-]?[0-9]+",
    "DECIMAL": r"[0-9]+\.[0-9]*|\.[0-9]+", "FLOAT": r"[0-9]+(\.[0-9]*)?[eE][+-]?[0-9]+|[0-9]+\.[0-9]*|\.[0-9]+",
    "NUMBER": r"[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?|\.[0-9]+", "LETTER": "[A-Za-z]", "LCASE_LETTER": "[a-z]",
    "SIGNED_NUMBER": r"[+-]?([0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?|\.[0-9]+)", "UCASE_LETTER": "[A-Z]",
    "WORD": "[A-Za-z]+", "CNAME": "[A-Za-z_][A-Za-z0-9_]*", "ESCAPED_STRING": r'"([^"\\\n]|\\.)*"',
}  # fmt: skip
"""Lark's, as regular expressions."""
TOKEN = re.compile(
    r"""(?P<space>[ \t\r]+|//[^\n]*|\n[ \t\r\n]*+(?=\||//))
      | (?P<end>\n[ \t\r\n]*+)
      | (?P<string>"(?:[^"\\\n]|\\.)*"i?)
      | (?P<regex>/(?!/)(?:[^/\\\n]|\\.)*/[imslux]*)
      | (?P<arrow>->[ \t]*\w+)
      | (?P<times>~[ \t]*\d+(?:[ \t]*\.\.[ \t]*\d+)?)
      | (?P<range>\.\.)
      | (?P<ignore>%ignore\b)
      | (?P<directive>%[^\n]*)
      | (?P<head>[?!]{0,2}_?[A-Za-z]\w*(?:\.-?\d+)?[ \t]*:)
      | (?P<name>_?[A-Za-z]\w*)
      | (?P<sign>[()\[\]|?*+])""",
    re.VERBOSE,
)
IMPORT = re.compile(r"%import\s+common\s*(?:\.\s*(\w+)(?:\s*->\s*(\w+))?|\(([^)]*)\))\s*(?://.*)?$")
MOST_NESTED = 100


class NotUnderstood(ValueError):
    """What is not served of a grammar; the message is for the client."""


def regex_grammar(pattern: str) -> str:
    """Raises NotUnderstood."""
    try:
        return "root ::= " + escaped.regex(pattern)
    except escaped.NotRegular:
        raise NotUnderstood("a regular expression that looks around or back, or is none") from None


def lark_grammar(definition: str) -> str:
    """Raises NotUnderstood."""
    rules = _Reader(definition).rules()
    if _rule("start") not in rules:
        raise NotUnderstood("no rule `start`")
    return "\n".join(
        ["root ::= ignored " + _rule("start"), *(f"{name} ::= {body}" for name, body in rules.items())]
    )


def _rule(name: str) -> str:
    """A rule may be called ``root``, and a terminal as a rule in other letters."""
    return "t_" + name if name.isupper() else "r_" + name


class _Reader:
    def __init__(self, definition: str) -> None:
        self._tokens = list(_tokens(definition))
        self._at = 0
        self._ignores = any(kind == "ignore" for kind, _ in self._tokens)
        self._rules: dict[str, str] = {}
        self._used: set[str] = set()
        self._ignored: list[str] = []
        self._in_rule = False
        """What a grammar ignores may follow each terminal of a rule, but not of a terminal."""

    def rules(self) -> Mapping[str, str]:
        while self._at < len(self._tokens):
            kind, text = self._next()
            if kind == "end":
                continue
            if kind == "ignore":
                self._in_rule = False
                self._ignored.append(self._choices())
            elif kind == "directive":
                self._import(text)
            elif kind == "head":
                name = text.rstrip(": \t").lstrip("?!").partition(".")[0]
                self._in_rule = not name.isupper()
                self._rules[_rule(name)] = self._choices()
            else:
                _fail(text)
        for name in sorted(self._used):
            if _rule(name) not in self._rules:
                raise NotUnderstood(f"no rule or terminal `{name}`")
        ignored = f"({' | '.join(self._ignored)})*" if self._ignored else '""'
        return {**self._rules, "ignored": ignored}

    def _import(self, text: str) -> None:
        found = IMPORT.match(text)
        if found is None:
            raise NotUnderstood(f"`{text.split(maxsplit=1)[0]}`, but for what is imported from `common`")
        one, alias, several = found.groups()
        for name in [one] if one else re.findall(r"\w+", several or ""):
            if name not in COMMON:
                raise NotUnderstood(f"`common.{name}`")
            self._rules[_rule(alias or name)] = escaped.regex(COMMON[name])

    def _choices(self, nested: int = 0) -> str:
        if nested > MOST_NESTED:
            raise NotUnderstood("so many parentheses")
        choices = [self._sequence(nested)]
        while self._peek() == ("sign", "|"):
            self._next()
            choices.append(self._sequence(nested))
        return " | ".join(choices)

    def _sequence(self, nested: int) -> str:
        parts: list[str] = []
        while (one := self._item(nested)) is not None:
            parts.append(one + self._repetition())
        if self._peek()[0] == "arrow":
            self._next()
        return " ".join(parts) or '""'

    def _item(self, nested: int) -> str | None:
        kind, text = self._peek()
        if kind == "name":
            self._next()
            self._used.add(text)
            return self._terminal(_rule(text)) if text.isupper() else _rule(text)
        if kind == "string":
            self._next()
            return self._terminal(self._string(text))
        if kind == "regex":
            self._next()
            body, _, flags = text[1:].rpartition("/")
            try:
                return self._terminal(escaped.regex(body.replace(r"\/", "/"), flags))
            except escaped.NotRegular:
                raise NotUnderstood(f"the regular expression `{text[:80]}`") from None
        if (kind, text) in (("sign", "("), ("sign", "[")):
            self._next()
            inner = self._choices(nested + 1)
            if self._next()[1] != ")]"["([".index(text)]:
                _fail(text)
            return f"({inner})" + ("?" if text == "[" else "")
        return None

    def _terminal(self, expression: str) -> str:
        return f"({expression} ignored)" if self._in_rule and self._ignores else expression

    def _string(self, text: str) -> str:
        ignores_case = text.endswith("i")
        try:
            letters = ast.literal_eval(text.removesuffix("i"))
            if self._peek()[0] == "range":
                self._next()
                last = ast.literal_eval(self._next()[1])
                return escaped.regex(f"[{re.escape(letters)}-{re.escape(last)}]")
            return escaped.any_case(letters) if ignores_case and letters else escaped.text(letters)
        except (SyntaxError, ValueError):
            _fail(text)

    def _repetition(self) -> str:
        kind, text = self._peek()
        if kind == "sign" and text in "?*+":
            self._next()
            return text
        if kind == "times":
            self._next()
            least, _, most = text.lstrip("~ \t").partition("..")
            return f"{{{int(least)},{int(most or least)}}}"
        return ""

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "")

    def _next(self) -> tuple[str, str]:
        found = self._peek()
        self._at += 1
        return found


def _tokens(definition: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    at = 0
    while at < len(definition):
        match = TOKEN.match(definition, at)
        if match is None:
            _fail(definition[at:].split(maxsplit=1)[0])
        if match.lastgroup != "space":
            found.append((match.lastgroup or "", match.group()))
        at = match.end()
    return found


def _fail(text: str) -> NoReturn:
    raise NotUnderstood(f"`{text[:80]}`")
