"""What Stripe tells: stored once for each event, answered at once, and handled after that.

An event only says where to look. Its handler fetches the object afresh and brings our rows to what it says: events
may come twice, late, or in any order.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime

import msgspec

from billing.clock import Clock
from billing.database.db import Database
from billing.payments.provider import EventSeen, Provider

Handler = Callable[[EventSeen], Awaitable[None]]
"""Any BillingError puts the event off: it is tried again, later each time."""


class Event(msgspec.Struct, frozen=True):
    """``came_by`` is webhook or sweep; ``error`` is of the last try."""

    id: str
    kind: str
    object: str
    came_by: str
    created_at: datetime
    received_at: datetime
    due_at: datetime
    tries: int
    handled_at: datetime | None
    error: str | None


class Inbox:
    def __init__(
        self, database: Database, provider: Provider, handlers: Mapping[str, Handler], clock: Clock
    ) -> None:
        """``handlers`` by the beginning of the kind that they are for, as ``charge.dispute.``: the longest counts.

        An event for which there is none is handled by doing nothing.
        """
        self._database = database
        self._provider = provider
        self._handlers = handlers
        self._clock = clock

    async def receive(self, body: bytes, signature: str) -> bool:
        """Stores what a webhook brings; whether it was new. Raises BadSignature, DatabaseUnavailable."""
        raise NotImplementedError

    async def run_once(self) -> int:
        """Handles what is due; returns how many were handled. Raises DatabaseUnavailable."""
        raise NotImplementedError

    async def waiting(self, limit: int = 100) -> Sequence[Event]:
        """What is not handled yet, oldest first, with the errors."""
        raise NotImplementedError

    async def newest(self, limit: int = 100) -> Sequence[Event]:
        raise NotImplementedError

    async def replay(self, event_id: str, actor: str) -> None:
        """The operator has it handled once more, at the next turn. Raises NotFound."""
        raise NotImplementedError
