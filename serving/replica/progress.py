"""Whether an engine that has work still does any. Pure.

vLLM says that its engine is well as long as its process lives; one that waits for a GPU for ever lives too.
"""

from __future__ import annotations

PATIENCE_SECONDS = 300.0
"""Longer than an engine reads the longest prompt without a word."""


class Progress:
    def __init__(self, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._patience = patience_seconds
        self._seen: object = None
        self._since: float | None = None

    def hangs(self, done: object, now: float, *, busy: bool) -> bool:
        """``done`` is anything that changes with every token; ``now`` is in seconds, monotonic."""
        if not busy or done != self._seen or self._since is None:
            self._seen, self._since = done, now
        return now - self._since > self._patience
