"""A partner's answer as the customer gets it, and what it says was used. Pure.

What a model wrote passes as it was written; the model has our name for it, and ``usage`` says what is charged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from serving.catalog.partners import Partner
from serving.metering.meter import Limits
from serving.partner import json_fields
from serving.partner.json_fields import Fields

DONE = b"[DONE]"
MOST_ERROR_CHARACTERS = 2000
OPERATORS_FAULT = frozenset({"invalid_api_key", "insufficient_quota", "rate_limit_exceeded", "billing_not_active"})
"""Codes that some partners give a 400 or a 413 though it is not the request's."""
PASSED = frozenset({"id", "object", "created", "choices", "data", "system_fingerprint"})
IDENTITY: tuple[str, ...] = ("id", "object", "created", "model")
"""What all events of an answer have in common."""

_NULL = msgspec.Raw(b"null")
_EMPTY = msgspec.Raw(b"[]")


class Unusable(Exception):
    """The partner's answer is none, or says not what it used."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens. ``over`` is how many more the partner counted than were held for: the operator's loss."""

    prompt: int
    cached: int
    completion: int
    over: int = 0
    completion_details: Any = None
    """What the partner says of the completion's tokens, such as those of reasoning."""

    def document(self) -> dict[str, Any]:
        """As OpenAI writes it."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached},
            "completion_tokens_details": self.completion_details,
        }


def usage_of(said: object, partner: Partner, limits: Limits, *, generates: bool) -> Usage:
    """What is charged: what the partner says, and no more than was held for. Raises Unusable.

    A partner knows one customer, us. Unless it keeps our tenants apart, what it had cached may be of another one's
    prompt, and is told to nobody.
    """
    if not isinstance(said, dict):
        raise Unusable("there is no usage")
    prompt = _count(said, "prompt_tokens")
    completion = _count(said, "completion_tokens") if generates else 0
    if generates:  # some count what was thought in the total alone
        completion = max(completion, _count(said, "total_tokens", 0) - prompt)
    details = said.get("prompt_tokens_details")
    cached = _count(details, "cached_tokens", 0) if isinstance(details, dict) else 0
    most_prompt = prompt if limits.prompt_tokens is None else limits.prompt_tokens
    most = completion if limits.completion_tokens is None else limits.completion_tokens * (limits.sequences or 1)
    charged = min(prompt, most_prompt)
    return Usage(
        prompt=charged,
        cached=min(cached, charged) if partner.keeps_tenants_apart else 0,
        completion=min(completion, most),
        over=max(0, prompt - most_prompt) + max(0, completion - most),
        completion_details=said.get("completion_tokens_details"),
    )


def _count(said: Mapping[str, Any], name: str, default: int | None = None) -> int:
    value = said.get(name, default)
    value = default if value is None else value
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Unusable(f"{name} is no number")
    return value


def fields_of(document: bytes) -> Fields:
    """Of a whole answer or of an event. Raises Unusable."""
    try:
        fields = json_fields.parse(document)
    except json_fields.UNREADABLE:
        raise Unusable("it is no JSON object") from None
    if fields.get("error", _NULL) != _NULL:
        raise Unusable("it is an error")
    return fields


def whole(fields: Fields, model: str, usage: Usage, *, generates: bool) -> bytes:
    """An answer that is not streamed."""
    document = usage.document()
    if not generates:
        document = {name: document[name] for name in ("prompt_tokens", "total_tokens")}
    return msgspec.json.encode(_ours(fields, model) | {"usage": json_fields.raw(document)})


def value_of(fields: Mapping[str, msgspec.Raw], name: str) -> Any:
    """Raises Unusable."""
    return _decoded(fields[name]) if name in fields else None


def _decoded(raw: msgspec.Raw) -> Any:
    try:
        return json_fields.value(raw)
    except json_fields.UNREADABLE:
        raise Unusable("it is no JSON object") from None


class Stream:
    """The events of a streamed answer, one after the other."""

    def __init__(self, model: str, *, wants_usage: bool) -> None:
        self._model = model
        self._wants_usage = wants_usage
        self._last: Fields = {}
        self.said: object = None
        """The partner's newest ``usage``."""

    def event(self, data: bytes) -> bytes:
        """What the customer gets of it; nothing if it was only for us. Raises Unusable."""
        fields = fields_of(data.replace(b"\n", b" "))  # in JSON it is white space, in a stream an event's end
        said = fields.pop("usage", _NULL)
        if said != _NULL:
            self.said = _decoded(said)
            if not value_of(fields, "choices"):
                return b""
        fields = self._last = _ours(fields, self._model)
        if self._wants_usage:
            fields = {**fields, "usage": _NULL}
        return _event(fields)

    def require_end(self) -> None:
        """For a stream that just stops. Raises Unusable if its last choice is not finished."""
        choices = value_of(self._last, "choices")
        last = choices[-1] if isinstance(choices, list) and choices else None
        if not isinstance(last, dict) or not last.get("finish_reason"):
            raise Unusable("it has no end")

    def end(self, usage: Usage) -> bytes:
        """The last events, the usage among them if it was asked for."""
        if not self._wants_usage:
            return b"data: [DONE]\n\n"
        kept = {name: self._last[name] for name in IDENTITY if name in self._last}
        return (
            _event({**kept, "choices": _EMPTY, "usage": json_fields.raw(usage.document())}) + b"data: [DONE]\n\n"
        )


def _ours(fields: Fields, model: str) -> Fields:
    """What else partners add tells of their cache and of the operator's costs."""
    fields = {name: value for name, value in fields.items() if name in PASSED} | {"model": json_fields.raw(model)}
    choices = bytes(fields.get("choices", _EMPTY))
    if b'"reasoning' in choices or b'"usage"' in choices:
        fields["choices"] = json_fields.raw(_tidied(_decoded(fields["choices"])))
    return fields


def _tidied(choices: Any) -> Any:
    """Some clients look for ``reasoning``, most for ``reasoning_content``; partners write the one or the other."""
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict):
            choice.pop("usage", None)
        for name in ("message", "delta"):
            said = choice.get(name) if isinstance(choice, dict) else None
            if isinstance(said, dict) and (text := said.get("reasoning_content") or said.get("reasoning")):
                said["reasoning"] = said["reasoning_content"] = text
    return choices


def error_of(body: bytes, partner: Partner, model: str) -> dict[str, Any]:
    """A partner's refusal, in the shape in which vLLM refuses; the model has our name in it."""
    try:
        document = json_fields.value(body)
    except json_fields.UNREADABLE:
        document = None
    error = document.get("error", document) if isinstance(document, dict) else None
    error = error if isinstance(error, dict) else {"message": error}
    message, param = error.get("message"), error.get("param")
    if not isinstance(message, str) or not message:
        message = "The partner refused the request."
    return {
        "message": message[:MOST_ERROR_CHARACTERS].replace(partner.model, model),
        "type": "invalid_request_error",
        "param": param if isinstance(param, str) else None,
        "code": error["code"] if isinstance(error.get("code"), str) else None,
    }


def _event(fields: Mapping[str, msgspec.Raw]) -> bytes:
    return b"data: " + msgspec.json.encode(fields) + b"\n\n"
