"""The review list: of each signal of an account one finding that is open, until an operator closes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.review.rules import Strange
from appliance.review.tables import finding
from appliance.settings import Signal
from billing.clock import Clock
from billing.customers import accounts
from billing.customers.accounts import Entry
from billing.database.tables import account, api_key
from billing.errors import NotFound

Outcome = Literal["harmless", "dealt_with"]
OUTCOMES: Sequence[Outcome] = ("harmless", "dealt_with")


@dataclass(frozen=True, slots=True)
class Finding:
    """``account`` and ``status`` are the account's now, ``key`` the hint of the key that it is about, if any;
    ``evidence`` is as the rule gave it.
    """

    id: int
    account_id: int
    account: str
    status: str
    key: str | None
    signal: Signal
    evidence: Mapping[str, Any]
    first_seen_at: datetime
    last_seen_at: datetime
    closed_at: datetime | None
    outcome: Outcome | None


@dataclass(frozen=True, slots=True)
class Closed:
    """The last time that findings of this signal were closed for the account."""

    at: datetime
    outcome: Outcome


async def record(connection: AsyncConnection, one: Strange, now: datetime, *, to_suspend: bool) -> int | None:
    """The finding's id if it is new; None if it is on the list already, where its evidence is renewed."""
    row = {"account_id": one.account_id, "signal": one.signal, "evidence": one.evidence}
    statement = upsert(finding).values(**row, first_seen_at=now, last_seen_at=now, to_suspend=to_suspend)
    renewed = statement.on_conflict_do_update(
        index_elements=["account_id", "signal"],
        index_where=finding.c.closed_at.is_(None),
        set_={"evidence": statement.excluded.evidence, "last_seen_at": now},
    )
    found = (await connection.execute(renewed.returning(finding.c.id, finding.c.first_seen_at))).one()
    return int(found.id) if found.first_seen_at == now else None


async def last_closed(connection: AsyncConnection) -> dict[tuple[int, str], Closed]:
    """By account and signal, as long as it is remembered."""
    columns = (finding.c.account_id, finding.c.signal, finding.c.closed_at, finding.c.outcome)
    query = select(*columns).where(finding.c.closed_at.is_not(None)).order_by(finding.c.closed_at)
    rows = await connection.execute(query)
    return {(row.account_id, row.signal): Closed(row.closed_at, row.outcome) for row in rows}


async def list_findings(connection: AsyncConnection, *, closed: bool, limit: int) -> list[Finding]:
    """The open ones, the oldest first; or the closed ones, the newest first."""
    own = [finding.c[name] for name in Finding.__slots__ if name not in ("account", "status", "key")]
    query = (
        select(*own, account.c.name.label("account"), account.c.status, api_key.c.hint.label("key"))
        .join(account, account.c.id == finding.c.account_id)
        .join(api_key, api_key.c.id == finding.c.evidence["key_id"].as_integer(), isouter=True)
    )
    is_closed = finding.c.closed_at.is_not(None)
    order = finding.c.closed_at.desc() if closed else finding.c.first_seen_at
    rows = await connection.execute(query.where(is_closed if closed else ~is_closed).order_by(order).limit(limit))
    return [Finding(**row) for row in rows.mappings()]


async def count_findings(connection: AsyncConnection) -> int:
    """Of those that are open."""
    query = select(func.count()).select_from(finding).where(finding.c.closed_at.is_(None))
    return int((await connection.execute(query)).scalar_one())


async def close(
    connection: AsyncConnection, finding_id: int, outcome: Outcome, reason: str, actor: str, clock: Clock
) -> None:
    """Raises NotFound if it is not open, ValueError without a reason."""
    now = clock()
    is_open = (finding.c.id == finding_id, finding.c.closed_at.is_(None))
    values = {"closed_at": now, "outcome": outcome, "to_suspend": False}
    closed = update(finding).where(*is_open).values(**values).returning(finding.c.account_id, finding.c.signal)
    row = (await connection.execute(closed)).one_or_none()
    if row is None:
        raise NotFound(f"there is no open finding {finding_id}")
    action = f"finding closed: {outcome.replace('_', ' ')}"
    await accounts.record(connection, Entry(now, actor, action, row.account_id, row.signal, reason.strip()))


async def forget(connection: AsyncConnection, before: datetime) -> None:
    """What was closed, or was not seen any more, before then; and all of accounts that are deleted."""
    deleted = select(account.c.id).where(account.c.status == "deleted")
    over = func.coalesce(finding.c.closed_at, finding.c.last_seen_at) <= before
    await connection.execute(delete(finding).where(over | finding.c.account_id.in_(deleted)))
