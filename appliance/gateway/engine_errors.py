"""vLLM's refusals in OpenAI's shape: the field by its own name, the type and code that clients look for. Pure."""

import json
from collections.abc import Mapping
from typing import Any

from appliance.errors import ApiError


class EngineError(ApiError):
    """What the engine said, with its own status."""

    type = "invalid_request_error"

    def __init__(self, status: int, message: str, param: str | None, code: str | None) -> None:
        super().__init__(message, param=param)
        self.status = status
        self.code = code
        if status >= 500:
            self.type = "server_error"


def engine_error(status: int, body: bytes, prompt_field: str) -> EngineError:
    """The error in ``body``; whatever it is, an answer in OpenAI's shape.

    ``prompt_field`` is where the request's prompt stands, which vLLM calls ``input_tokens`` when it is too long.
    """
    said = _error(body)
    message = said.get("message")
    param = said.get("param")
    field = param.removeprefix("body.").split(".")[0] if isinstance(param, str) else None
    is_context = field == "input_tokens"
    return EngineError(
        status,
        message if isinstance(message, str) and message else "The engine refused the request.",
        None if field in ("", "body") else prompt_field if is_context else field,
        "context_length_exceeded" if is_context else code if isinstance(code := said.get("code"), str) else None,
    )


def _error(body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(document, dict):
        return {}
    error = document.get("error")
    return error if isinstance(error, dict) else {"message": document.get("detail")}
