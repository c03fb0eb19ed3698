"""The bodies that ask for text: chat completions, completions, responses, Anthropic's messages."""

import msgspec

from appliance.errors import InvalidRequest
from appliance.gateway.bodies.parsed import Parsed, count_images, count_prompts, opening_of

MOST_ANSWERS = 1024
DEFAULT_COMPLETION = 16
"""Tokens of a text completion that names no limit: OpenAI's default, and vLLM's."""


class _Body(msgspec.Struct):
    model: str
    stream: bool | None = None
    service_tier: str | None = None
    prompt_cache_key: str | None = None


class _Sampled(_Body):
    n: int | None = None
    max_tokens: int | None = None
    use_beam_search: bool | None = None


class _ChatBody(_Sampled):
    messages: msgspec.Raw = msgspec.Raw()
    max_completion_tokens: int | None = None
    tools: msgspec.Raw = msgspec.Raw()
    functions: msgspec.Raw = msgspec.Raw()
    documents: msgspec.Raw = msgspec.Raw()
    chat_template_kwargs: msgspec.Raw = msgspec.Raw()


class _CompletionsBody(_Sampled):
    prompt: msgspec.Raw = msgspec.Raw()


class _ResponsesBody(_Body):
    input: msgspec.Raw = msgspec.Raw()
    instructions: msgspec.Raw = msgspec.Raw()
    max_output_tokens: int | None = None
    tools: msgspec.Raw = msgspec.Raw()
    background: bool | None = None
    previous_response_id: str | None = None
    previous_input_messages: msgspec.Raw = msgspec.Raw()
    chat_template_kwargs: msgspec.Raw = msgspec.Raw()


class _MessagesBody(_Body):
    messages: msgspec.Raw = msgspec.Raw()
    system: msgspec.Raw = msgspec.Raw()
    max_tokens: int | None = None
    tools: msgspec.Raw = msgspec.Raw()
    chat_template_kwargs: msgspec.Raw = msgspec.Raw()


class _Message(msgspec.Struct):
    content: str | list[msgspec.Raw] | None = None
    tool_calls: msgspec.Raw = msgspec.Raw()


_chat = msgspec.json.Decoder(_ChatBody, strict=False)
_completions = msgspec.json.Decoder(_CompletionsBody, strict=False)
_responses = msgspec.json.Decoder(_ResponsesBody, strict=False)
_messages = msgspec.json.Decoder(_MessagesBody, strict=False)
_conversation = msgspec.json.Decoder(list[_Message])


def parse_chat(raw: bytes) -> Parsed:
    body = _chat.decode(raw)
    asked = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
    template_writes_more = any((body.tools, body.functions, body.documents, body.chat_template_kwargs))
    messages = _list(body.messages, "messages")
    _list(body.tools, "tools", may_be_null=True)
    return Parsed(
        model=body.model,
        stream=bool(body.stream),
        answers=_answers(body),
        prompt_bytes=None if template_writes_more or not _is_plain_text(messages) else len(messages),
        completion_limit=_limit(asked, "max_completion_tokens" if asked is not body.max_tokens else "max_tokens"),
        images=count_images(messages),
        tier=body.service_tier,
        opening=opening_of(messages, body.prompt_cache_key),
    )


def parse_completions(raw: bytes) -> Parsed:
    body = _completions.decode(raw)
    prompt = bytes(body.prompt)
    return Parsed(
        model=body.model,
        stream=bool(body.stream),
        prompts=count_prompts(prompt, "prompt"),
        answers=_answers(body),
        prompt_bytes=len(prompt) if prompt else None,
        completion_limit=_limit(DEFAULT_COMPLETION if body.max_tokens is None else body.max_tokens, "max_tokens"),
        tier=body.service_tier,
        opening=opening_of(prompt, body.prompt_cache_key),
    )


def parse_responses(raw: bytes) -> Parsed:
    body = _responses.decode(raw)
    if body.background:
        raise InvalidRequest("Responses are not stored, and so not made in the background.", param="background")
    if body.previous_response_id is not None:
        raise InvalidRequest(
            "Responses are not stored: send the whole conversation in `input`.", param="previous_response_id"
        )
    text = bytes(body.input)
    _list(body.tools, "tools", may_be_null=True)
    template_writes_more = any((body.tools, body.previous_input_messages, body.chat_template_kwargs))
    is_plain = text.startswith(b'"') and not template_writes_more
    return Parsed(
        model=body.model,
        stream=bool(body.stream),
        answers=1,
        prompt_bytes=len(text) + len(bytes(body.instructions)) if is_plain else None,
        completion_limit=_limit(body.max_output_tokens, "max_output_tokens"),
        images=count_images(text),
        tier=body.service_tier,
        opening=opening_of(text, body.prompt_cache_key),
    )


def parse_messages(raw: bytes) -> Parsed:
    body = _messages.decode(raw)
    messages, system = _list(body.messages, "messages"), bytes(body.system)
    _list(body.tools, "tools", may_be_null=True)
    template_writes_more = body.tools or body.chat_template_kwargs or system.startswith(b"[")
    is_plain = not template_writes_more and _is_plain_text(messages)
    return Parsed(
        model=body.model,
        stream=bool(body.stream),
        answers=1,
        prompt_bytes=len(messages) + len(system) if is_plain else None,
        completion_limit=_limit(body.max_tokens, "max_tokens"),
        images=count_images(messages),
        tier=body.service_tier,
        opening=opening_of(messages, body.prompt_cache_key),
    )


def _list(raw: msgspec.Raw, field: str, *, may_be_null: bool = False) -> bytes:
    """As it came; vLLM judges what is in it, but stumbles over what is none."""
    value = bytes(raw)
    if value and not value.startswith(b"[") and not (may_be_null and value == b"null"):
        raise InvalidRequest(f"`{field}` must be a list.", param=field)
    return value


def _answers(body: _Sampled) -> int:
    if body.use_beam_search:
        raise InvalidRequest("Beam search is not offered.", param="use_beam_search")
    answers = 1 if body.n is None else body.n
    if not 1 <= answers <= MOST_ANSWERS:
        raise InvalidRequest(f"`n` must be between 1 and {MOST_ANSWERS}.", param="n")
    return answers


def _limit(asked: int | None, field: str) -> int | None:
    if asked is not None and asked < 0:
        raise InvalidRequest(f"`{field}` must not be negative.", param=field)
    return asked


def _is_plain_text(messages: bytes) -> bool:
    """Whether every message is text alone: neither parts (images, audio) nor tool calls."""
    try:
        decoded = _conversation.decode(messages) if messages else []
    except msgspec.DecodeError:
        return False
    return all(isinstance(message.content, str) and not message.tool_calls for message in decoded)
