"""Words that nobody who is refused should read: they are of our languages, not of his. Pure."""

from __future__ import annotations

import re

PYTHON = re.compile(
    r"Traceback|[Vv]alidation error|Value error|\b\w*(Error|Exception)\b\(?|pydantic|msgspec|<\w+ of \d+"
    r"|'loc'|'ctx'|NoneType|object at 0x|\b(str|int|bool|dict|tuple)\b|__\w+__|\bself\.|\.py\b|EngineCore|AsyncLLM"
)


def python_in(message: str) -> str | None:
    """The first such word."""
    found = PYTHON.search(message)
    return None if found is None else found[0]
