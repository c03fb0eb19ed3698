"""The tools of OpenAI's responses that a client runs and that have a type of their own. Pure.

Each is shown to the model as a function; its calls, and what came of them, are items of a type of their own.
Source: OpenAI's API reference (responses, ``tools`` and items) and its guides to each of the tools.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from serving.agents.tools import Fields

_TEXT: Fields = {"type": "string"}
_NUMBER: Fields = {"type": "integer"}
_TEXTS: Fields = {"type": "array", "items": _TEXT}
OPERATIONS = ["create_file", "update_file", "delete_file"]


@dataclass(frozen=True, slots=True)
class Typed:
    """``item`` has what a call's item has beside its ids, ``arguments`` goes back from there."""

    description: str
    parameters: Fields
    item: Callable[[Fields], Fields]
    arguments: Callable[[Fields], Any]


def _object(required: list[str], **properties: Fields) -> Fields:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _local_shell(arguments: Fields) -> Fields:
    action: Fields = {
        "type": "exec", "command": arguments.get("command") or [], "env": {},
        "timeout_ms": arguments.get("timeout_ms"), "working_directory": arguments.get("working_directory"),
    }  # fmt: skip
    return {"action": action}


def _shell(arguments: Fields) -> Fields:
    action = {
        "commands": arguments.get("commands") or [], "timeout_ms": arguments.get("timeout_ms"),
        "max_output_length": arguments.get("max_output_length"),
    }  # fmt: skip
    return {"action": action}


def _patch(arguments: Fields) -> Fields:
    kind = arguments.get("type")
    names = ("path",) if kind == "delete_file" else ("path", "diff")
    operation = {name: str(arguments.get(name) or "") for name in names}
    return {"operation": {"type": kind if kind in OPERATIONS else "update_file", **operation}}


def _action(item: Fields) -> Any:
    action = item.get("action")
    kept = action.items() if isinstance(action, dict) else ()
    return {name: value for name, value in kept if name not in ("type", "env", "user") and value is not None}


TYPED: dict[str, Typed] = {
    "local_shell": Typed(
        "Run a program on the user's machine.",
        _object(["command"], command=_TEXTS, working_directory=_TEXT, timeout_ms=_NUMBER),
        _local_shell,
        _action,
    ),
    "shell": Typed(
        "Run commands in a shell on the user's machine, one after the other.",
        _object(["commands"], commands=_TEXTS, timeout_ms=_NUMBER, max_output_length=_NUMBER),
        _shell,
        _action,
    ),
    "apply_patch": Typed(
        "Create, change or delete a file by a diff in the V4A format.",
        _object(["type", "path"], type={"type": "string", "enum": OPERATIONS}, path=_TEXT, diff=_TEXT),
        _patch,
        lambda item: item.get("operation"),
    ),
    "tool_search": Typed(
        "Search for further tools.",
        _object(["query"], query=_TEXT),
        lambda arguments: {"arguments": arguments, "execution": "client"},
        lambda item: item.get("arguments"),
    ),
}
"""By type; a call's item is of the type ``<type>_call``."""


def is_clients(tool: Fields) -> bool:
    """Whether it is one of these and the client runs it, not OpenAI."""
    kind, environment = tool.get("type"), tool.get("environment")
    if kind == "tool_search":
        return tool.get("execution") == "client"
    if kind == "shell":
        return not isinstance(environment, dict) or environment.get("type") == "local"
    return kind in TYPED


def typed_item(kind: str, arguments: str) -> Fields:
    """Of arguments that are JSON."""
    found = json.loads(arguments)
    return {"type": kind + "_call", **TYPED[kind].item(found if isinstance(found, dict) else {})}
