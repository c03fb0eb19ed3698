"""vLLM's refusals in OpenAI's shape: the field by its own name, the type and code that clients look for. Pure."""

import json
import re
from collections.abc import Mapping
from typing import Any

from appliance.errors import ApiError
from appliance.gateway.plain_words import python_in

_OF_ITS_CODE = re.compile(r"^Value error, | \((parameter|value)=.*\)$", re.DOTALL)
"""What vLLM's exceptions add to the sentence."""


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
    param = said.get("param")
    field = param.removeprefix("body.") if isinstance(param, str) else None
    is_context = field == "input_tokens"
    return EngineError(
        status,
        _plain(said.get("message"), field),
        None if field in ("", "body") else prompt_field if is_context else field,
        "context_length_exceeded" if is_context else code if isinstance(code := said.get("code"), str) else None,
    )


def _plain(message: object, field: str | None) -> str:
    """The engine's sentence, unless it is one for whoever programs the engine."""
    text = _OF_ITS_CODE.sub("", message) if isinstance(message, str) else ""
    if text and python_in(text) is None:
        return text
    return "The engine refused the request." if field in (None, "", "body") else f"`{field}` cannot be used."


def _error(body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(document, dict):
        return {}
    error = document.get("error")
    return error if isinstance(error, dict) else {"message": document.get("detail")}
