"""What an endpoint takes, and reading it: whatever it does not take is refused, as Stripe does. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from appliance.stripe_sandbox.errors import BadParameter

Reader = Callable[[Any, str], Any]
"""A form's value and its full name, to the value meant. Raises BadParameter."""
Params = dict[str, Any]

WHOLE_NUMBER = re.compile(r"-?\d{1,15}")
MOST_METADATA, METADATA_KEY, METADATA_VALUE = 50, 40, 500
MOST_TEXT = 5000


@dataclass(frozen=True, slots=True)
class Need:
    """A parameter that has to be there."""

    reader: Reader


Schema = Mapping[str, Reader | Need]


def read(schema: Schema, raw: Mapping[str, Any], prefix: str = "") -> Params:
    """Only what was sent is in the result; what was sent empty, to unset it, is None."""
    unknown = [name for name in raw if name not in schema]
    if unknown:
        name = _full(prefix, unknown[0])
        raise BadParameter(f"Received unknown parameter: {name}", code="parameter_unknown", param=name)
    result: Params = {}
    for name, how in schema.items():
        if name in raw:
            reader = how.reader if isinstance(how, Need) else how
            result[name] = reader(raw[name], _full(prefix, name))
        elif isinstance(how, Need):
            full = _full(prefix, name)
            raise BadParameter(f"Missing required param: {full}.", code="parameter_missing", param=full)
    return result


def text(value: Any, name: str) -> str | None:
    if not isinstance(value, str):
        raise BadParameter(f"Invalid string: {name}", param=name)
    if len(value) > MOST_TEXT:
        raise BadParameter(f"Invalid string: must be at most {MOST_TEXT} characters", param=name)
    return value or None


def whole(value: Any, name: str) -> int:
    if not isinstance(value, str) or not WHOLE_NUMBER.fullmatch(value):
        raise BadParameter(f"Invalid integer: {value}", code="parameter_invalid_integer", param=name)
    return int(value)


def percentage(value: Any, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise BadParameter(f"Invalid decimal: {value}", param=name) from None
    if not 0 <= number <= 100:
        raise BadParameter(f"Invalid percentage: {value}", param=name)
    return number


def flag(value: Any, name: str) -> bool:
    if value not in ("true", "false"):
        raise BadParameter(f"Invalid boolean: {value}", param=name)
    return bool(value == "true")


def metadata(value: Any, name: str) -> dict[str, str] | None:
    """A key sent empty is to be removed; the whole sent empty removes all (None)."""
    if value == "":
        return None
    if not isinstance(value, dict) or any(not isinstance(one, str) for one in value.values()):
        raise BadParameter(f"Invalid object: {name}", param=name)
    if len(value) > MOST_METADATA:
        raise BadParameter(f"Metadata can have up to {MOST_METADATA} keys", param=name)
    for key, one in value.items():
        if len(key) > METADATA_KEY or len(one) > METADATA_VALUE:
            raise BadParameter(f"Metadata key or value too long: {key}", param=f"{name}[{key}]")
    return value


def currency(value: Any, name: str) -> str:
    if not isinstance(value, str) or not re.fullmatch("[A-Za-z]{3}", value):
        raise BadParameter(f"Invalid currency: {value}", param=name)
    return value.lower()


class OneOf:
    """One of a few words."""

    def __init__(self, *choices: str) -> None:
        self.choices = choices

    def __call__(self, value: Any, name: str) -> str:
        if value not in self.choices:
            raise BadParameter(f"Invalid {name}: must be one of {', '.join(self.choices)}", param=name)
        return str(value)


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters within one: ``address[city]``."""

    schema: Schema

    def __call__(self, value: Any, name: str) -> Params | None:
        if value == "":
            return None
        if not isinstance(value, dict):
            raise BadParameter("Invalid object", param=name)
        return read(self.schema, value, name)


@dataclass(frozen=True, slots=True)
class Many:
    """A list: ``items[0]``, ``items[1]``; sent empty, it has nothing in it."""

    reader: Reader

    def __call__(self, value: Any, name: str) -> list[Any]:
        if value == "":
            return []
        if not isinstance(value, dict) or not all(key.isdigit() for key in value):
            raise BadParameter("Invalid array", param=name)
        return [self.reader(value[key], f"{name}[{key}]") for key in sorted(value, key=int)]


def span(value: Any, name: str) -> Params:
    """Of ``created``: one instant, or ``gt``, ``gte``, ``lt`` and ``lte``; all in seconds since 1970."""
    if isinstance(value, str):
        instant = whole(value, name)
        return {"gte": instant, "lte": instant}
    return read(dict.fromkeys(("gt", "gte", "lt", "lte"), whole), value, name)


def merged_metadata(old: Mapping[str, str], sent: Params, name: str = "metadata") -> dict[str, str]:
    """What the metadata is after a request that may have sent some of it."""
    if name not in sent:
        return dict(old)
    if sent[name] is None:
        return {}
    return {key: value for key, value in {**old, **sent[name]}.items() if value != ""}


def _full(prefix: str, name: str) -> str:
    return f"{prefix}[{name}]" if prefix else name
