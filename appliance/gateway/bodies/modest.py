"""How much of a body there may be to judge. Pure.

A replica reads a body in the one thread that serves all its streams, and vLLM takes a third of a millisecond to
find one message wrong: a list of 100,000 numbers where messages belong kept everybody waiting until Ray took the
replica for dead. Text and token ids may be as long as the body.
"""

import msgspec

from appliance.errors import InvalidRequest

MOST_PARTS = 4096
"""Messages of a conversation, their parts, tool calls and tools: each may be one of many kinds."""
MOST_VALUES = 50_000
"""Members of lists and objects in all other fields together."""
CONVERSATION = ("messages", "input", "previous_input_messages", "system", "inputs", "tools")
IDS = ("prompt", "tokens", "allowed_token_ids", "stop_token_ids", "logprob_token_ids")
"""Where lists of token ids belong; in ``input`` too, of what is to be embedded."""

_any = msgspec.json.Decoder()


def require_modest(body: bytes, *, embeds: bool) -> None:
    """Of JSON. Raises InvalidRequest; most bodies have too few commas to be looked at."""
    if body.count(b",") < MOST_PARTS:
        return
    document = _any.decode(body)
    if not isinstance(document, dict):
        return
    values = 0
    for field, value in document.items():
        if (field in IDS or (embeds and field == "input")) and _is_numbers(value):
            continue
        if field in CONVERSATION and _parts(value) > MOST_PARTS:
            raise InvalidRequest(f"`{field}` has more than {MOST_PARTS} parts.", param=field)
        values += _values(value)
        if values > MOST_VALUES:
            raise InvalidRequest(f"`{field}`: the body has more than {MOST_VALUES} values.", param=field)


def _is_numbers(value: object) -> bool:
    """Token ids of one prompt, or of several."""
    if not isinstance(value, list):
        return False
    prompts = value if value and isinstance(value[0], list) else [value]
    return all(isinstance(one, list) and all(isinstance(number, int) for number in one) for one in prompts)


def _parts(value: object) -> int:
    """In lists, and lists that are members of what is in them: not in a tool's schema."""
    count, left = 0, [value]
    while left:
        node = left.pop()
        if isinstance(node, list):
            count += len(node)
            left += node
        elif isinstance(node, dict):
            left += [member for member in node.values() if isinstance(member, list)]
    return count


def _values(value: object) -> int:
    count, left = 0, [value]
    while left:
        node = left.pop()
        if isinstance(node, dict | list):
            count += len(node)
            left += node.values() if isinstance(node, dict) else node
    return count
