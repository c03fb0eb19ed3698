"""What the gateway must know of a body before it passes it on, untouched, to the replica.

Only the fields that bound the cost are read; everything else is for vLLM to judge. Pure.
"""

from dataclasses import dataclass
from enum import Enum

import msgspec

from appliance.errors import InvalidRequest

MOST_SEQUENCES = 1024
DEFAULT_COMPLETION = 16
"""Tokens of a text completion that names no limit: OpenAI's default, and vLLM's."""


class Endpoint(Enum):
    """The generating endpoints, by path."""

    CHAT = "/v1/chat/completions"
    COMPLETIONS = "/v1/completions"


@dataclass(frozen=True, slots=True)
class Parsed:
    """``prompt_bytes`` bounds the tokens of the prompt from above (a byte-level token is at least one byte);
    None where it does not, because the model's template may write more than the client sent.

    ``completion_limit`` is what the client asked for per sequence, in tokens; None if it did not say.
    """

    model: str
    stream: bool
    prompts: int
    choices: int
    prompt_bytes: int | None
    completion_limit: int | None


class _Body(msgspec.Struct):
    model: str
    stream: bool | None = None
    n: int | None = None
    max_tokens: int | None = None
    use_beam_search: bool | None = None


class _ChatBody(_Body):
    messages: msgspec.Raw = msgspec.Raw()
    max_completion_tokens: int | None = None
    tools: msgspec.Raw = msgspec.Raw()
    functions: msgspec.Raw = msgspec.Raw()
    documents: msgspec.Raw = msgspec.Raw()
    chat_template_kwargs: msgspec.Raw = msgspec.Raw()


class _CompletionsBody(_Body):
    prompt: msgspec.Raw = msgspec.Raw()


class _Message(msgspec.Struct):
    content: str | list[msgspec.Raw] | None = None
    tool_calls: msgspec.Raw = msgspec.Raw()


_chat = msgspec.json.Decoder(_ChatBody, strict=False)
_completions = msgspec.json.Decoder(_CompletionsBody, strict=False)
_any = msgspec.json.Decoder()


def parse(endpoint: Endpoint, body: bytes) -> Parsed:
    """Raises InvalidRequest that names the field."""
    try:
        if endpoint is Endpoint.CHAT:
            return _parse_chat(_chat.decode(body))
        return _parse_completions(_completions.decode(body))
    except msgspec.ValidationError as error:
        message, field = _explain(str(error))
        raise InvalidRequest(message, param=field) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidRequest("The body is not valid JSON.") from None


def _parse_chat(body: _ChatBody) -> Parsed:
    asked = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
    template_writes_more = any((body.tools, body.functions, body.documents, body.chat_template_kwargs))
    messages = bytes(body.messages)
    return Parsed(
        model=body.model,
        stream=bool(body.stream),
        prompts=1,
        choices=_choices(body),
        prompt_bytes=None if template_writes_more or not _is_plain_text(messages) else len(messages),
        completion_limit=_limit(asked, "max_completion_tokens" if asked is not body.max_tokens else "max_tokens"),
    )


def _parse_completions(body: _CompletionsBody) -> Parsed:
    prompt = bytes(body.prompt)
    return Parsed(
        model=body.model,
        stream=bool(body.stream),
        prompts=_count_prompts(prompt),
        choices=_choices(body),
        prompt_bytes=len(prompt) if prompt else None,
        completion_limit=_limit(DEFAULT_COMPLETION if body.max_tokens is None else body.max_tokens, "max_tokens"),
    )


def _choices(body: _Body) -> int:
    if body.use_beam_search:
        raise InvalidRequest("Beam search is not offered.", param="use_beam_search")
    choices = 1 if body.n is None else body.n
    if not 1 <= choices <= MOST_SEQUENCES:
        raise InvalidRequest(f"`n` must be between 1 and {MOST_SEQUENCES}.", param="n")
    return choices


def _limit(asked: int | None, field: str) -> int | None:
    if asked is not None and asked < 0:
        raise InvalidRequest(f"`{field}` must not be negative.", param=field)
    return asked


def _is_plain_text(messages: bytes) -> bool:
    """Whether every message is text alone: neither parts (images, audio) nor tool calls."""
    try:
        decoded = msgspec.json.decode(messages, type=list[_Message]) if messages else []
    except msgspec.DecodeError:
        return False
    return all(isinstance(message.content, str) and not message.tool_calls for message in decoded)


def _count_prompts(prompt: bytes) -> int:
    """A string or a list of token ids is one prompt; a list of either is as many."""
    if not prompt.startswith(b"["):
        return 1
    items = _any.decode(prompt)
    if not items or isinstance(items[0], int):
        return 1
    if len(items) > MOST_SEQUENCES:
        raise InvalidRequest(f"At most {MOST_SEQUENCES} prompts in one request.", param="prompt")
    return len(items)


def _explain(error: str) -> tuple[str, str | None]:
    """msgspec's sentence and the field it speaks of: "Expected `int`, got `str` - at `$.n`"."""
    message, _, path = error.partition(" - at `$")
    if message.startswith("Object missing required field `"):
        field = message.split("`")[1]
        return f"You must provide the field `{field}`.", field
    field = path.rstrip("`").lstrip(".")
    return (f"`{field}`: {message}." if field else f"The body: {message}."), field or None
