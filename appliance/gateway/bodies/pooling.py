"""The bodies whose prompts are read and not answered in text: embeddings, scores, rankings, token counts."""

import re

import msgspec

from appliance.errors import InvalidRequest
from appliance.gateway.bodies.parsed import Parsed, count_images, count_prompts, require_few

_EMPTY_LIST = re.compile(rb"\[[ \t\r\n]*\]")
_Texts = str | list[str]


class _EmbeddingsBody(msgspec.Struct):
    model: str
    input: msgspec.Raw = msgspec.Raw()
    messages: msgspec.Raw = msgspec.Raw()


class _EmbedBody(msgspec.Struct):
    """Cohere's."""

    model: str
    texts: list[str] | None = None
    images: list[str] | None = None
    inputs: list[msgspec.Raw] | None = None


class _ScoreBody(msgspec.Struct):
    """vLLM takes the two sides by several names."""

    model: str
    text_1: msgspec.Raw = msgspec.Raw()
    text_2: msgspec.Raw = msgspec.Raw()
    queries: msgspec.Raw = msgspec.Raw()
    documents: msgspec.Raw = msgspec.Raw()
    items: msgspec.Raw = msgspec.Raw()
    data_1: msgspec.Raw = msgspec.Raw()
    data_2: msgspec.Raw = msgspec.Raw()


class _RerankBody(msgspec.Struct):
    model: str
    query: msgspec.Raw = msgspec.Raw()
    documents: msgspec.Raw = msgspec.Raw()


class _TokensBody(msgspec.Struct):
    model: str


_embeddings = msgspec.json.Decoder(_EmbeddingsBody)
_embed = msgspec.json.Decoder(_EmbedBody)
_score = msgspec.json.Decoder(_ScoreBody)
_rerank = msgspec.json.Decoder(_RerankBody)
_tokens = msgspec.json.Decoder(_TokensBody)
_texts = msgspec.json.Decoder(_Texts)


def parse_embeddings(raw: bytes) -> Parsed:
    body = _embeddings.decode(raw)
    text, messages = bytes(body.input), bytes(body.messages)
    if not messages:
        _require_something(text)
    is_conversation = bool(messages) or b'"role"' in text
    return Parsed(
        model=body.model,
        prompts=count_prompts(messages or text, "input"),
        prompt_bytes=None if is_conversation else len(text),
        images=count_images(messages or text) if is_conversation else 0,
    )


def _require_something(text: bytes) -> None:
    """As OpenAI does: no text and no list of tokens may be empty, nor may the list of them."""
    if b'""' not in text and _EMPTY_LIST.search(text) is None:
        return
    found = msgspec.json.decode(text)
    if found in ("", []) or (isinstance(found, list) and any(one in ("", []) for one in found)):
        raise InvalidRequest("`input` must not be empty, and neither may a member of it.", param="input")


def parse_embed(raw: bytes) -> Parsed:
    body = _embed.decode(raw)
    texts, images, inputs = body.texts or (), body.images or (), body.inputs or ()
    return Parsed(
        model=body.model,
        prompts=max(1, require_few(len(texts) + len(images) + len(inputs), "texts")),
        prompt_bytes=None if images or inputs else sum(len(text.encode()) for text in texts),
        images=len(images) + sum(count_images(bytes(one)) for one in inputs),
    )


def parse_score(raw: bytes) -> Parsed:
    body = _score.decode(raw)
    one = body.text_1 or body.queries or body.data_1
    other = body.text_2 or body.documents or body.items or body.data_2
    return _pairs(body.model, bytes(one), bytes(other))


def parse_rerank(raw: bytes) -> Parsed:
    body = _rerank.decode(raw)
    return _pairs(body.model, bytes(body.query), bytes(body.documents))


def _pairs(model: str, one: bytes, other: bytes) -> Parsed:
    """A model reads either each pair, or each text of either side once: the bound holds for both."""
    images = count_images(one) + count_images(other)
    try:
        left, right = _list_of(one), _list_of(other)
    except msgspec.ValidationError:
        texts = count_prompts(one, "queries") + count_prompts(other, "documents")
        return Parsed(model=model, prompts=texts, images=images * texts)
    pairs = require_few(max(len(left), len(right)), "documents")
    return Parsed(
        model=model,
        prompts=max(1, len(left) + len(right)),
        prompt_bytes=_bytes(left) * (pairs if len(left) == 1 else 1) + _bytes(right),
    )


def _list_of(side: bytes) -> list[str]:
    texts = _texts.decode(side) if side else []
    return [texts] if isinstance(texts, str) else texts


def _bytes(texts: list[str]) -> int:
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)


def parse_tokens(raw: bytes) -> Parsed:
    """Tokens are only counted; what is counted is for vLLM to judge."""
    return Parsed(model=_tokens.decode(raw).model, prompt_bytes=0, free=True)
