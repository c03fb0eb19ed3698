"""Holds an answer to the SDK's own types: every field is known, of its type, and none is missing.

The SDK marks what may be absent as Optional. Where it says "one of these values, or any text", only those are
right.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import types
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any, ForwardRef, Literal, Union, get_args, get_origin

import stripe
from stripe._object_classes import get_object_class

UNIONS = (Union, types.UnionType)


def problems(answer: dict[str, Any]) -> list[str]:
    """Of an answer of the API, which says itself what it is."""
    return _of_object(answer, answer.get("object", "?"))


def _of_object(value: dict[str, Any], where: str) -> list[str]:
    kind = value["object"]
    if kind == "list":
        return [
            problem
            for number, one in enumerate(value["data"])
            for problem in _of_object(one, f"{where}.data[{number}]")
        ]
    if value.get("deleted"):
        return []
    found = _of_class(value, get_object_class("V1", kind), where)
    if kind == "event":
        inner = value["data"]["object"]
        found += _of_object(inner, f"{where}({value['type']}).{inner['object']}")
    return found


def _of_class(value: Any, kind: type, where: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{where}: {value!r} is no {kind.__name__}"]
    hints = _hints(kind)
    found = [f"{where}.{name}: the SDK knows no such field" for name in value if name not in hints]
    for name, hint in hints.items():
        if name in value:
            found += _of_hint(value[name], hint, kind, f"{where}.{name}")
        elif not _optional(hint):
            found.append(f"{where}.{name}: missing")
    return found


def _of_hint(value: Any, hint: Any, kind: type, where: str) -> list[str]:
    if isinstance(hint, (ForwardRef, str)):
        name = hint if isinstance(hint, str) else hint.__forward_arg__
        return _of_hint(value, _resolved(name, kind), kind, where)
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return []
    if origin in UNIONS:
        return _of_union(value, inner, kind, where)
    if origin is Literal:
        return [] if value in inner else [f"{where}: {value!r} is none of {len(inner)} values"]
    if origin is not None:
        return _of_many(value, origin, inner[0], kind, where)
    return _of_plain(value, hint, where)


def _of_many(value: Any, origin: Any, inner: Any, kind: type, where: str) -> list[str]:
    """A list, a list object, or an object with names of ours."""
    if origin is list and isinstance(value, list):
        named = {f"[{number}]": one for number, one in enumerate(value)}
    elif origin is stripe.ListObject and isinstance(value, dict) and value.get("object") == "list":
        named = {f".data[{number}]": one for number, one in enumerate(value["data"])}
    elif issubclass(origin, stripe.StripeObject) and isinstance(value, dict):
        named = {f".{name}": one for name, one in value.items()}
    else:
        return [f"{where}: {value!r} is no {origin.__name__}"]
    return [problem for name, one in named.items() for problem in _of_hint(one, inner, kind, where + name)]


def _of_plain(value: Any, hint: Any, where: str) -> list[str]:
    if hint is type(None):
        return [] if value is None else [f"{where}: {value!r} is not null"]
    if hint is Decimal:
        try:
            return [] if isinstance(value, str) and Decimal(value).is_finite() else [f"{where}: {value!r}"]
        except InvalidOperation:
            return [f"{where}: {value!r} is no decimal"]
    if hint is float:
        right = isinstance(value, (int, float)) and not isinstance(value, bool)
        return [] if right else [f"{where}: {value!r} is no number"]
    if hint in (int, str, bool):
        return [] if type(value) is hint else [f"{where}: {value!r} is no {hint.__name__}"]
    if isinstance(hint, type) and issubclass(hint, stripe.StripeObject):
        return _of_class(value, hint, where)
    return [f"{where}: what is {hint}?"]


def _of_union(value: Any, options: tuple[Any, ...], kind: type, where: str) -> list[str]:
    literal = next((one for one in options if get_origin(one) is Literal), None)
    if literal is not None and str in options:
        options = tuple(one for one in options if one is not str)
    if value is None:
        return [] if type(None) in options else [f"{where}: null"]
    attempts = [_of_hint(value, one, kind, where) for one in options if one is not type(None)]
    return min(attempts, key=len)


def _optional(hint: Any) -> bool:
    return get_origin(hint) in UNIONS and type(None) in get_args(hint)


@cache
def _hints(kind: type) -> dict[str, Any]:
    return {
        name: hint
        for one in kind.__mro__
        if one.__module__.startswith("stripe.") and one.__name__ not in ("StripeObject", "APIResource")
        for name, hint in inspect.get_annotations(one).items()
        if "ClassVar" not in str(hint) and not name.startswith("_")
    }


@cache
def _resolved(name: str, kind: type) -> Any:
    """A name as the class's own module means it, also one that it imports for types alone."""
    module = importlib.import_module(kind.__module__)
    if hasattr(module, name):
        return getattr(module, name)
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if name == (alias.asname or alias.name):
                    return getattr(importlib.import_module(node.module), alias.name)
    return eval(name, {**vars(module), **vars(kind), "Union": Union})
