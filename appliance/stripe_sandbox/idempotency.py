"""The same request twice happens once: what was answered to a key is answered again.

https://docs.stripe.com/api/idempotent_requests
"""

from __future__ import annotations

import hashlib

from appliance.stripe_sandbox.errors import BadParameter, IdempotencyMismatch, KeyInUse
from appliance.stripe_sandbox.settings import DAY_SECONDS
from appliance.stripe_sandbox.state import Object, State

LONGEST = 255
KIND = "_answer"


class Answers:
    """Kept in the state for a day, by key. A key whose answer is not out yet is in ``in_flight``."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.in_flight: set[str] = set()

    def known(self, key: str, path: str, text: str, now: int) -> Object | None:
        """The answer to the same request before: ``status`` and ``body``. Raises StripeError."""
        if len(key) > LONGEST:
            raise BadParameter(f"Idempotency keys are at most {LONGEST} characters long.")
        self._forget(now)
        if key in self.in_flight:
            raise KeyInUse(key)
        row = self._state.table(KIND).rows.get(key)
        if row is None:
            return None
        if row["fingerprint"] != fingerprint(path, text):
            raise IdempotencyMismatch(key)
        return row

    def keep(self, key: str, path: str, text: str, status: int, body: bytes, now: int) -> None:
        row = {"fingerprint": fingerprint(path, text), "status": status, "body": body.decode(), "at": now}
        self._state.put(KIND, key, row)

    def _forget(self, now: int) -> None:
        rows = self._state.table(KIND).rows
        while rows and (oldest := next(iter(rows)), rows[oldest]["at"])[1] < now - DAY_SECONDS:
            self._state.remove(KIND, oldest)


def fingerprint(path: str, text: str) -> str:
    return hashlib.blake2b(f"{path}?{'&'.join(sorted(text.split('&')))}".encode(), digest_size=16).hexdigest()
