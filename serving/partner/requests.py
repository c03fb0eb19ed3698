"""A customer's request as a partner gets it. Pure.

Everything that the customer asks for is passed on as it came, but for what bounds the cost, what says who asks,
and what would be kept there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from serving.catalog.endpoints import Body
from serving.catalog.partners import Partner
from serving.metering.meter import Limits
from serving.partner import json_fields
from serving.partner.json_fields import Fields

KEPT_HERE = frozenset(
    {
        # who asks, and what their other requests are
        "user", "safety_identifier", "metadata", "prompt_cache_key", "prompt_cache_retention",
        # what the partner would keep
        "store",
        # what would cost more than tokens, or another model's price
        "models", "plugins", "provider", "route", "transforms", "web_search_options", "search_parameters",
        "modalities", "audio", "prediction",
        # what they mean here
        "cache_salt", "priority", "request_id", "service_tier", "kv_transfer_params", "ec_transfer_params",
    }
)  # fmt: skip
LIMIT_FIELDS = ("max_completion_tokens", "max_tokens")
DECIDED = KEPT_HERE | {*LIMIT_FIELDS, "model", "stream", "stream_options", "n", "best_of"}
"""In this spelling alone: some servers know no difference, and take the last one."""
TOOLS = ("function", "custom")
"""Those that the customer runs; what a partner would run has a price of its own."""


class Refused(Exception):
    """The request cannot be bounded, or is none; ``param`` is the field."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True, slots=True)
class Asked:
    """``body`` goes to the partner. ``wants_usage``: the customer asked for it in the stream."""

    body: bytes
    stream: bool
    wants_usage: bool


def translate(raw: bytes, kind: Body, partner: Partner, limits: Limits, context_length: int) -> Asked:
    """Raises Refused."""
    fields = {
        name: value
        for name, value in read(raw).items()
        if name not in KEPT_HERE and (name in DECIDED or name.lower() not in DECIDED)
    }
    _require_own_tools(fields)
    fields["model"] = json_fields.raw(partner.model)
    if partner.keeps_tenants_apart:
        fields["cache_salt"] = json_fields.raw(limits.salt)
    if kind is Body.EMBEDDINGS:
        return Asked(msgspec.json.encode(fields), stream=False, wants_usage=False)
    _require_few_answers(fields, limits)
    _limit(fields, partner.limit_field if kind is Body.CHAT else "max_tokens", limits, context_length)
    stream, wants_usage = _flag(_value(fields, "stream"), "stream"), False
    if "stream" in fields:
        fields["stream"] = json_fields.raw(stream)
    options = _value(fields, "stream_options")
    fields.pop("stream_options", None)
    if stream:
        options = options if isinstance(options, dict) else {}
        wants_usage = _flag(options.get("include_usage"), "stream_options")
        options.pop("continuous_usage_stats", None)
        fields["stream_options"] = json_fields.raw(options | {"include_usage": True})
    return Asked(msgspec.json.encode(fields), stream, wants_usage)


def read(raw: bytes) -> Fields:
    """The body's fields as they were written. Raises Refused."""
    try:
        return json_fields.parse(raw)
    except json_fields.UNREADABLE:
        raise Refused("The body is not a JSON object.") from None


def media_in(raw: bytes) -> list[str]:
    """The types of those parts of messages that are no text. Raises Refused."""
    if b'"type"' not in raw:
        return []
    try:
        types = [str(part.get("type")) for part in _parts(json_fields.value(raw))]
        return [one for one in types if one != "text"]
    except json_fields.UNREADABLE:
        raise Refused("The body is not a JSON object.") from None


def _parts(body: Any) -> Iterator[dict[str, Any]]:
    messages = body.get("messages") if isinstance(body, dict) else None
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        yield from (part for part in (content if isinstance(content, list) else ()) if isinstance(part, dict))


def prompts_in(raw: bytes) -> int:
    """Of completions and embeddings: a list of texts or of lists of tokens is as many. Raises Refused."""
    fields = read(raw)
    prompts = _value(fields, "prompt") or _value(fields, "input")
    several = isinstance(prompts, list) and prompts and not isinstance(prompts[0], int)
    return len(prompts) if several else 1


def _require_own_tools(fields: Fields) -> None:
    tools = _value(fields, "tools")
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, dict) and tool.get("type", TOOLS[0]) not in TOOLS:
            raise Refused("Only tools of the type `function` are offered.", "tools")


def _require_few_answers(fields: Fields, limits: Limits) -> None:
    """``best_of`` generates answers that nobody sees and everybody pays."""
    for name in ("n", "best_of"):
        asked = _value(fields, name)
        if asked is None:
            continue
        most = limits.sequences if name == "n" else _value(fields, "n") or 1
        if not isinstance(asked, int) or asked < 1 or (most is not None and asked > most):
            raise Refused(f"`{name}` is not what this request may ask for.", name)


def _limit(fields: Fields, field: str, limits: Limits, context_length: int) -> None:
    """At most what was held for. Of a customer who names no limit, the context is one already.

    Where less than the context was held for, the prompt's bound is left free: partners refuse what cannot fit.
    """
    named = [value for name in LIMIT_FIELDS if (value := _value(fields, name)) is not None]
    for name in LIMIT_FIELDS:
        fields.pop(name, None)
    most = context_length if limits.completion_tokens is None else limits.completion_tokens
    if named:
        if not isinstance(named[0], int):
            raise Refused(f"`{field}` must be a whole number.", field)
        fields[field] = json_fields.raw(max(1, min(named[0], most)))
    elif most < context_length:
        room = context_length - (limits.prompt_tokens or 0) // (limits.sequences or 1)
        fields[field] = json_fields.raw(min(most, room) if room > 0 else most)


def _flag(value: Any, field: str) -> bool:
    """As leniently as vLLM and the gateway read it. Raises Refused."""
    try:
        return bool(msgspec.convert(value, bool | None, strict=False))
    except msgspec.ValidationError:
        raise Refused(f"`{field}` must be true or false.", field) from None


def _value(fields: Fields, name: str) -> Any:
    try:
        return json_fields.value(fields[name]) if name in fields else None
    except UnicodeDecodeError:
        raise Refused(f"`{name}` is not valid UTF-8.", name) from None
