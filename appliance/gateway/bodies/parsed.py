"""What bounds the cost of a request, whatever its body looks like."""

from dataclasses import dataclass

import msgspec

from appliance.errors import InvalidRequest

MOST_PROMPTS = 2048
"""In one request: what OpenAI takes for embeddings."""

OPENING_BYTES = 256
OPENING_MOST_BYTES = 8192

_any = msgspec.json.Decoder()
_raws = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Parsed:
    """``prompt_bytes`` bounds the tokens of all prompts from above, as the tokenizer has it;
    None where it does not, because the model's template may write more than the client sent.

    ``answers`` is how many are generated to each prompt: 0 where the prompts are only read.
    ``completion_limit`` is what the client asked for per answer, in tokens; None if it did not say.
    ``free``: the engine does nothing. ``recording``: it is measured in seconds. ``tier`` is ``service_tier``.
    ``opening`` stays the same while a conversation grows: what a replica may have read before.
    """

    model: str
    stream: bool = False
    prompts: int = 1
    answers: int = 0
    prompt_bytes: int | None = None
    completion_limit: int | None = None
    images: int = 0
    recording: bool = False
    free: bool = False
    tier: str | None = None
    opening: bytes = b""


def count_prompts(prompt: bytes, field: str) -> int:
    """Of JSON: a string or a list of token ids is one prompt; a list of either is as many."""
    if not prompt.startswith(b"["):
        return 1
    items = _any.decode(prompt)
    if not items or isinstance(items[0], int):
        return 1
    return require_few(len(items), field)


def require_few(count: int, field: str) -> int:
    if count > MOST_PROMPTS:
        raise InvalidRequest(f"At most {MOST_PROMPTS} prompts in one request.", param=field)
    return count


def opening_of(prompt: bytes, key: str | None = None) -> bytes:
    """Of JSON: ``prompt_cache_key`` if it came; messages up to the first of the user's; else the first bytes."""
    if key:
        return key.encode("utf-8", "surrogatepass")
    if not (prompt.startswith(b"[") and prompt[1:64].lstrip().startswith(b"{")):
        return prompt[:OPENING_BYTES]
    found = b""
    for message in _raws.decode(prompt):
        head = bytes(memoryview(message)[:OPENING_MOST_BYTES])
        found += head
        if b'"user"' in head or len(found) >= OPENING_MOST_BYTES:
            break
    return found


def count_images(content: bytes) -> int:
    """Parts of JSON that are an image, however the API names them."""
    return _count_images(_any.decode(content)) if b"image" in content else 0


def _count_images(node: object) -> int:
    if isinstance(node, list):
        return sum(map(_count_images, node))
    if not isinstance(node, dict):
        return 0
    kind = node.get("type")
    named = isinstance(kind, str) and "image" in kind
    return int(named or any("image" in key for key in node)) or sum(map(_count_images, node.values()))
