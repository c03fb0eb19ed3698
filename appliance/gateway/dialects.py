"""The same error, and the same request id, as OpenAI's clients expect them and as Anthropic's do. Pure.

Sources: OpenAI's API reference (errors; streaming events of responses), Anthropic's (errors).
"""

import json
from uuid import UUID

from appliance.errors import ApiError
from serving.catalog.endpoints import Body, Dialect, Endpoint

_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


def error_body(dialect: Dialect, error: ApiError) -> bytes:
    return error.body() if dialect == "openai" else json.dumps(_anthropic(error)).encode()


def error_event(endpoint: Endpoint, error: ApiError) -> bytes:
    """The last event of a stream that has begun."""
    if endpoint.dialect == "anthropic":
        return b"event: error\ndata: " + error_body(endpoint.dialect, error) + b"\n\n"
    if endpoint.body is Body.RESPONSES:
        document = {
            "type": "error", "code": error.code or error.type, "message": error.message, "param": error.param,
            "sequence_number": 0,
        }  # fmt: skip
        return b"event: error\ndata: " + json.dumps(document).encode() + b"\n\n"
    return b"data: " + error.body() + b"\n\n"


def id_headers(dialect: Dialect, request_id: UUID) -> list[tuple[bytes, bytes]]:
    value = str(request_id).encode()
    headers = [(b"x-request-id", value)]
    return headers if dialect == "openai" else [*headers, (b"request-id", value)]


def _anthropic(error: ApiError) -> dict[str, object]:
    kind = _ANTHROPIC_TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": error.message}}
