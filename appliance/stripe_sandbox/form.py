"""Stripe's way to write nested parameters in a form: ``items[0][price]=price_1``. Pure."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from appliance.stripe_sandbox.errors import BadParameter

MOST_FIELDS = 1000


def parsed(text: str) -> dict[str, Any]:
    """Nested dictionaries of strings; the members of a list have their index as the key. Raises BadParameter."""
    found: dict[str, Any] = {}
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise BadParameter("The request has too many parameters.") from None
    for name, value in pairs:
        _put(found, _path(name), value, name)
    return found


def _path(name: str) -> list[str]:
    head, bracket, rest = name.partition("[")
    if not bracket:
        return [name]
    if not rest.endswith("]"):
        raise BadParameter(f"Invalid parameter name: {name}", param=name)
    return [head, *rest[:-1].split("][")]


def _put(into: dict[str, Any], path: list[str], value: str, name: str) -> None:
    for part in path[:-1]:
        into = into.setdefault(part or str(len(into)), {})
        if not isinstance(into, dict):
            raise BadParameter(f"{name} is a value and holds others at once", param=name)
    into[path[-1] or str(len(into))] = value
