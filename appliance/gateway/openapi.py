"""``GET /openapi.json``: the API as a document for programs, made from the table of endpoints.

What is passed on to the engine unread (sampling, tools, formats) is not repeated here: a body may have more fields
than the description names. Sources: the OpenAPI specification 3.1, OpenAI's and Anthropic's API references.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from fastapi import APIRouter

from serving.catalog.declared import Declared
from serving.catalog.endpoints import ENDPOINTS, Body, Dialect, Endpoint

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
TEXTS: Schema = {"oneOf": [TEXT, {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 2048}]}
LIST: Schema = {"type": "array", "items": TEXT, "minItems": 1}
TOKENS: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
COUNT: Schema = {"type": "integer", "minimum": 1}
FLAG: Schema = {"type": "boolean"}


def _message(*roles: str) -> Schema:
    return {
        "type": "object",
        "required": ["role", "content"],
        "properties": {"role": {"enum": list(roles)}, "content": TEXT},
    }


def _messages(*roles: str) -> Schema:
    return {"type": "array", "minItems": 1, "items": _message(*roles)}


_SAMPLED: Schema = {
    "max_tokens": COUNT,
    "n": {"type": "integer", "minimum": 1, "maximum": 1024},
    "temperature": {"type": "number", "minimum": 0, "maximum": 2},
    "stop": TEXTS,
    "seed": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
    "stream": FLAG,
}
_PAIR: Schema = {"documents": TEXTS, "queries": TEXTS}
_BODIES: dict[Body, tuple[tuple[str, ...], Schema]] = {
    Body.CHAT: (("messages",), {"messages": _messages("system", "user", "assistant"), **_SAMPLED}),
    Body.COMPLETIONS: (("prompt",), {"prompt": TEXTS, **_SAMPLED}),
    Body.RESPONSES: (
        ("input",),
        {"input": TEXT, "instructions": TEXT, "max_output_tokens": COUNT, "stream": FLAG},
    ),
    Body.MESSAGES: (
        ("messages", "max_tokens"),
        {"messages": _messages("user", "assistant"), "max_tokens": COUNT, "system": TEXT, "stream": FLAG},
    ),
    Body.EMBEDDINGS: (("input",), {"input": TEXTS, "encoding_format": {"enum": ["float", "base64"]}}),
    Body.EMBED: (("texts",), {"texts": LIST}),
    Body.SCORE: (("queries", "documents"), _PAIR),
    Body.RERANK: (
        ("query", "documents"),
        {"query": TEXT, "documents": LIST},
    ),
    Body.AUDIO: (
        ("file",),
        {"file": {"type": "string", "format": "binary"}, "language": TEXT, "prompt": TEXT, "stream": FLAG},
    ),
    Body.TOKENS: ((), {"prompt": TEXT, "messages": _messages("system", "user", "assistant"), "tokens": TOKENS}),
}
"""The fields that are required besides ``model``, and those that are named."""

ERRORS = {
    400: "The request cannot be served as it is; `param` names the field.",
    401: "The key is missing, unknown or revoked.",
    402: "The credit, or the budget of the month, does not cover what the request may cost.",
    403: "The account is suspended or closed.",
    404: "There is no such model.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    429: "Over a limit of the account or of the key; `Retry-After` says when to come again.",
    503: "The model is full or away; `Retry-After` says when to come again.",
}


def openapi_router(declared: Declared) -> APIRouter:
    router = APIRouter()

    @router.get("/openapi.json")
    async def openapi() -> dict[str, Any]:
        return describe(tuple(declared.models()))

    return router


def describe(models: Collection[str]) -> dict[str, Any]:
    """``models`` are the ids that are offered now."""
    paths: dict[str, Any] = {path: {"post": _operation(endpoint)} for path, endpoint in ENDPOINTS.items()}
    paths["/v1/models"] = {"get": _reading("The models that are offered, with their prices.", "ModelList")}
    paths["/v1/models/{model}"] = {
        "get": _reading("One model.", "Model", 404)
        | {"parameters": [{"name": "model", "in": "path", "required": True, "schema": TEXT}]}
    }
    paths["/v1/usage"] = {
        "get": _reading("What the account of the key used. Never content.", "Usage", 400)
        | {"parameters": [_query("start_date"), _query("end_date"), _query("group_by")]}
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Appliance", "version": "1"},
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "anthropic": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
            "schemas": _schemas(models),
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    required, properties = _BODIES[endpoint.body]
    schema = {
        "type": "object",
        "required": ["model", *required],
        "properties": {"model": {"$ref": "#/components/schemas/ModelId"}, **properties},
    }
    kind = "multipart/form-data" if endpoint.body is Body.AUDIO else "application/json"
    answer: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
    if endpoint.ends:
        answer["text/event-stream"] = {}  # what OpenAPI 3.1 has no words for: a schema would be each event's
    if endpoint.body is Body.AUDIO:
        answer["text/plain"] = {"schema": TEXT}
    good = {"description": "The answer.", "content": answer}
    return {
        "operationId": endpoint.path.strip("/").replace("/", "_"),
        "security": [{"key": []}, {"anthropic": []}] if endpoint.dialect == "anthropic" else [{"key": []}],
        "requestBody": {"required": True, "content": {kind: {"schema": schema}}},
        "responses": {"200": good, **_errors(endpoint.dialect, *ERRORS)},
    }


def _reading(what: str, schema: str, *errors: int) -> dict[str, Any]:
    good = {
        "description": what,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }
    return {"responses": {"200": good, **_errors("openai", 401, 503, *errors)}}


def _query(name: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": TEXT}


def _errors(dialect: Dialect, *statuses: int) -> dict[str, Any]:
    reference = "#/components/schemas/" + ("AnthropicError" if dialect == "anthropic" else "Error")
    found: dict[str, Any] = {}
    for status in statuses:
        content = {"application/json": {"schema": {"$ref": reference}}}
        found[str(status)] = {"description": ERRORS[status], "content": content}
        if status in (429, 503):
            found[str(status)]["headers"] = {"Retry-After": {"schema": TEXT, "description": "Seconds."}}
    return found


def _schemas(models: Collection[str]) -> dict[str, Schema]:
    nullable = {"type": ["string", "null"]}
    model = _object(id=TEXT, object={"const": "model"}, context_length=COUNT, pricing={"type": ["object", "null"]})
    return {
        "ModelId": {"type": "string", "enum": sorted(models)} if models else TEXT,
        "Model": model,
        "ModelList": _object(data={"type": "array", "items": model}),
        "Usage": _object(data={"type": "array"}, total={"type": "object"}, balance=TEXT),
        "Error": _object(error=_object(message=TEXT, type=TEXT, param=nullable, code=nullable)),
        "AnthropicError": _object(type={"const": "error"}, error=_object(type=TEXT, message=TEXT)),
    }


def _object(**properties: Schema) -> Schema:
    """All of them are required."""
    return {"type": "object", "required": list(properties), "properties": properties}
