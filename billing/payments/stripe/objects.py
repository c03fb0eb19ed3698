"""Stripe's objects as plain documents, their ids, and what of ours they keep."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, cast
from uuid import UUID

from billing.payments.stripe.errors import asked

OURS = "reference"
"""The metadata in which Stripe keeps our id."""
CHANGES, CHANGES_TO = "changes_subscription", "changes_to_price"
"""The metadata in which an invoice keeps which subscription is to change, and to what."""

Seen = Mapping[str, Any]


async def pages(first: Any) -> AsyncIterator[Sequence[Seen]]:
    page = first
    while page.data:
        yield [seen_of(one) for one in page.data]
        if not page.has_more:
            return
        page = await asked(page.next_page_async())


def seen_of(found: Any) -> Seen:
    """A plain document, whatever classes the library has for it."""
    return cast("Seen", found.to_dict())


def id_of(found: Any) -> str | None:
    """Of an object that stands there as a whole, or by its id."""
    if found is None or isinstance(found, str):
        return found
    return cast("str", found["id"])


def uuid_of(text: str | None) -> UUID | None:
    try:
        return None if text is None else UUID(text)
    except ValueError:
        return None


def reference_of(seen: Seen) -> UUID | None:
    return uuid_of((seen.get("metadata") or {}).get(OURS))
