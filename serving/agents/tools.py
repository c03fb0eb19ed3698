"""A request's tools: what the client calls them, and the functions that the model is shown instead. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from serving.agents.lark import NotUnderstood, lark_grammar, regex_grammar

Fields = dict[str, Any]

NAMESPACE_END = "__"
"""Between a namespace and a name; a namespace that ends with it needs no other one."""
INPUT = "input"
"""The one argument of a function that stands for a custom tool."""
MOST_GRAMMAR_BYTES = 20_000
"""Of all custom tools of a request: one thread reads them, and longer patterns are not compiled anyway."""
NOTHING: Fields = {"type": "object", "properties": {}}

enforced: ContextVar[Mapping[str, str] | None] = ContextVar("enforced", default=None)
"""Grammars of this task's request, by the description of the argument that must obey them."""


class Refused(Exception):
    """What cannot be served of a request, in a sentence for the client; ``param`` is the field."""

    def __init__(self, message: str, param: str = "tools") -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True, slots=True)
class Tool:
    """One that the client runs. ``kind`` is its type; ``name`` and ``namespace`` are the client's words."""

    kind: str
    name: str
    namespace: str | None = None


@dataclass(frozen=True, slots=True)
class Function:
    """What the model is shown."""

    name: str
    description: str | None
    parameters: Any
    strict: bool | None = None

    def fields(self) -> Fields:
        found: Fields = {"name": self.name, "parameters": self.parameters or NOTHING}
        if self.description is not None:
            found["description"] = self.description
        if self.strict is not None:
            found["strict"] = self.strict
        return found


def joined(namespace: Any, name: str) -> str:
    """The function's name. The way back is the request's table, so that no name has to be taken apart."""
    if not isinstance(namespace, str) or not namespace:
        return name
    return namespace + name if namespace.endswith(NAMESPACE_END) else namespace + NAMESPACE_END + name


class Toolbox:
    """The tools of one request. ``functions`` are in the client's order."""

    def __init__(self) -> None:
        self.functions: list[Function] = []
        self.tools: dict[str, Tool] = {}
        self.grammars: dict[str, str] = {}
        self._grammar_bytes = 0
        self.left_out: dict[str, str] = {}
        """Kinds by the name that a client forces them by."""

    def add(self, tool: Tool, description: Any, parameters: Any, *, strict: Any = None) -> None:
        """Raises Refused. A tool that comes twice, as those do that were searched for, is one."""
        name = joined(tool.namespace, tool.name)
        if name in self.tools:
            if self.tools[name] == tool:
                return
            raise Refused(f"Two tools would be called `{name}`.")
        self.tools[name] = tool
        text = description if isinstance(description, str) else None
        self.functions.append(Function(name, text, parameters, strict if isinstance(strict, bool) else None))

    def add_custom(self, tool: Tool, description: Any, asked: Any) -> None:
        """``asked`` is its format: a grammar, with ``syntax`` and ``definition``, or a text without one.

        Raises Refused.
        """
        asked = asked if isinstance(asked, dict) else {}
        grammar = asked.get("grammar", asked) if asked.get("type") == "grammar" else None
        shown = description if isinstance(description, str) else ""
        about = f"The whole text for `{joined(tool.namespace, tool.name)}`"
        if isinstance(grammar, dict):
            syntax, definition = grammar.get("syntax"), grammar.get("definition")
            about += ", as its grammar wants it."
            self._grammar_bytes += len(str(definition).encode(errors="replace"))
            if self._grammar_bytes > MOST_GRAMMAR_BYTES:
                raise Refused(f"The grammars of custom tools have at most {MOST_GRAMMAR_BYTES} bytes together.")
            self.grammars[about] = _compiled(tool.name, syntax, definition)
            shown = f"{shown}\n\nThe text must obey this {syntax} grammar:\n{definition}".lstrip()
        else:
            about += "."
        properties = {INPUT: {"type": "string", "description": about}}
        parameters = {
            "type": "object", "properties": properties, "required": [INPUT], "additionalProperties": False,
        }  # fmt: skip
        self.add(tool, shown or None, parameters, strict=True if about in self.grammars else None)

    def leave_out(self, kind: str, *names: str) -> None:
        for name in names or (kind,):
            self.left_out[name] = kind

    def find(self, name: Any, namespace: Any = None) -> str | None:
        """The function for what a client names; by its bare name too, if no other tool has it."""
        if not isinstance(name, str):
            return None
        shown = joined(namespace, name)
        if shown in self.tools:
            return shown
        same = [function for function, tool in self.tools.items() if tool.name == name]
        return same[0] if len(same) == 1 else None

    def refuse_left_out(self, name: Any) -> None:
        """Raises Refused if the client forces a tool that is not served."""
        if isinstance(name, str) and name in self.left_out:
            kind = self.left_out[name]
            of_kind = "" if kind == name else f" (`{kind}`)"
            raise Refused(
                f"The tool `{name}`{of_kind} is not offered: only tools that you run yourself are.", "tool_choice"
            )

    def refuse_emptiness(self) -> None:
        """Raises Refused if a call is wanted and no tool is left to call."""
        if not self.functions and self.left_out:
            self.refuse_left_out(next(iter(self.left_out)))


def _compiled(name: str, syntax: object, definition: object) -> str:
    if not isinstance(definition, str) or syntax not in ("lark", "regex"):
        raise Refused(f"The grammar of the tool `{name}` must have a `syntax`, lark or regex, and a `definition`.")
    try:
        return lark_grammar(definition) if syntax == "lark" else regex_grammar(definition)
    except NotUnderstood as error:
        raise Refused(f"The grammar of the tool `{name}` has {error}, which is not served.") from None
    except RecursionError:
        raise Refused(f"The grammar of the tool `{name}` is nested too deeply.") from None


def enforcing(tag: Any, grammars: Mapping[str, str]) -> Any:
    """vLLM's structural tag, with the grammar itself where it has the schema of a custom tool's one text."""
    if isinstance(tag, list):
        return [enforcing(one, grammars) for one in tag]
    if not isinstance(tag, dict):
        return tag
    if tag.get("type") == "json_schema" and tag.get("style", "json") == "json":
        grammar = grammars.get(_about(tag.get("json_schema")))
        if grammar is None:
            return tag
        begin, end = f'{{"{INPUT}": "', '"}'
        elements = [
            {"type": "const_string", "value": begin},
            {"type": "grammar", "grammar": grammar},
            {"type": "const_string", "value": end},
        ]
        return {"type": "sequence", "elements": elements}
    return {name: enforcing(value, grammars) for name, value in tag.items()}


def _about(schema: Any) -> str:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    argument = properties.get(INPUT) if isinstance(properties, dict) and len(properties) == 1 else None
    about = argument.get("description") if isinstance(argument, dict) else None
    return about if isinstance(about, str) else ""
