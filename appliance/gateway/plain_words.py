"""Words that nobody who is refused should read: they are of our languages, not of his. Pure."""

from __future__ import annotations

import re

PYTHON = re.compile(
    r"Traceback|[Vv]alidation error|Value error|\b\w*(Error|Exception)\b\(?|pydantic|msgspec|<\w+ of \d+"
    r"|'loc'|'ctx'|NoneType|object at 0x|\b(str|int|bool|dict|tuple)\b|__\w+__|\bself\.|\.py\b|EngineCore|AsyncLLM"
)
NAMES = re.compile(r"`[^`]*`")


def python_in(message: str) -> str | None:
    """The first such word. What stands in backticks is a name, often the client's own."""
    found = PYTHON.search(NAMES.sub("", message))
    return None if found is None else found[0]
