"""How much of a body there may be to judge. Pure.

A replica reads a body in the one thread that serves all its streams, and vLLM takes a third of a millisecond to
find one message wrong: a list of 100,000 numbers where messages belong kept everybody waiting until Ray took the
replica for dead. Text and token ids may be as long as the body. The gateway has one thread too: what is counted
here is counted in bytes, before anything is made of them.
"""

import msgspec

from appliance.errors import InvalidRequest
from appliance.gateway.bodies.parsed import MOST_PROMPTS
from serving.catalog.endpoints import Body

MOST_PARTS = 4096
"""Messages of a conversation, their parts, tool calls and tools: each may be one of many kinds."""
MOST_VALUES = 50_000
"""Members of lists and objects, but for token ids."""
MOST_QUOTES = 20 * MOST_VALUES
"""Beyond which nobody looks for the field that has them."""
TOO_MANY = f"The body has more than {MOST_VALUES} values."
CONVERSATION = ("messages", "input", "previous_input_messages", "system", "inputs", "tools")
ECHOES = frozenset({"logprobs", "annotations"})
"""Of an answer that is sent back as a part of the conversation."""
IDS = {Body.COMPLETIONS: "prompt", Body.EMBEDDINGS: "input", Body.TOKENS: "tokens"}
"""Where token ids may be."""
OF_IDS = b"0123456789-,[] \t\r\n"

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_any = msgspec.json.Decoder()


def require_modest(body: bytes, kind: Body) -> None:
    """Of JSON. Raises InvalidRequest; most bodies have too few commas to be looked at."""
    if body.count(b",") < MOST_PARTS:
        return
    bare = _bare(body)
    if bare.count(b'"') > MOST_QUOTES:
        raise InvalidRequest(TOO_MANY)
    fields = {name: bytes(value) for name, value in _fields.decode(body).items()}
    ids = IDS.get(kind, "")
    exempt = _values(fields.pop(ids)) if _is_ids(fields.get(ids, b"")) else 0
    if _values(bare) - exempt > MOST_VALUES:
        field = max(fields, key=lambda name: _values(_bare(fields[name])), default=None)
        raise InvalidRequest(TOO_MANY, param=field)
    for field in CONVERSATION:
        if field in fields and _parts(_any.decode(fields[field])) > MOST_PARTS:
            raise InvalidRequest(f"`{field}` has more than {MOST_PARTS} parts.", param=field)


def _is_ids(value: bytes) -> bool:
    """Of one prompt, or of several."""
    return not value.translate(None, OF_IDS) and 1 <= value.count(b"[") <= MOST_PROMPTS + 1


def _values(bare: bytes) -> int:
    """As many, at least, as there are members of lists and objects."""
    outside = b"".join(bare.split(b'"')[::2])
    return outside.count(b",") + outside.count(b"[") + outside.count(b"{")


def _bare(text: bytes) -> bytes:
    """A quote of what is left begins or ends a string."""
    return text.replace(rb"\\", b"").replace(rb"\"", b"")


def _parts(value: object) -> int:
    """In lists, and lists that are members of what is in them: not in a tool's schema."""
    count, left = 0, [value]
    while left:
        node = left.pop()
        if isinstance(node, list):
            count += len(node)
            left += node
        elif isinstance(node, dict):
            left += [member for name, member in node.items() if isinstance(member, list) and name not in ECHOES]
    return count
