"""The store in memory: the twin of ``billing.store.postgres`` that the simulation drives a million times."""

from collections import ChainMap
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec.structs import replace

from billing.prices.pricing import Rate
from billing.store.port import (
    Allowance,
    Asked,
    Changes,
    End,
    Lot,
    NewLot,
    OpenHold,
    Source,
    Standing,
    Transfer,
)

HOUSE_OF_SOURCE = {Source.PURCHASE: "payments", Source.GRANT: "grants", Source.ALLOWANCE: "plans"}


class Crash(Exception):
    """The process died here: before its commit, or after it, without learning of it."""


class MemoryStore:
    """``crash`` makes the next transaction die: ``before`` or ``after`` its commit."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[Any, Any]] = {
            name: {} for name in ("accounts", "keys", "lots", "holds", "usage", "ledger", "opened", "causes")
        }
        self.owners: dict[bytes, tuple[int, int]] = {}
        self.revoked: set[int] = set()
        self.rates: list[tuple[str, int | None, datetime, datetime | None, Rate]] = []
        self.transfers: list[Transfer] = []
        self.crash: str | None = None

    @asynccontextmanager
    async def begin(self) -> AsyncIterator["MemoryTransaction"]:
        transaction = MemoryTransaction(self)
        yield transaction
        crash, self.crash = self.crash, None
        if crash == "before":
            raise Crash
        for name, table in self.tables.items():
            for key, value in transaction.tables[name].maps[0].items():
                if value is None:
                    table.pop(key, None)
                else:
                    table[key] = value
        self.transfers += transaction.transfers
        if crash == "after":
            raise Crash


class MemoryTransaction:
    """Reads through to what is committed; what it writes is its own until then. None marks what is deleted."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.tables: dict[str, ChainMap[Any, Any]] = {
            name: ChainMap({}, table) for name, table in store.tables.items()
        }
        self.transfers: list[Transfer] = []

    async def lock_askers(
        self, asking: Sequence[tuple[bytes, str]], now: datetime
    ) -> tuple[list[Asked | None], dict[int, Standing]]:
        asked: list[Asked | None] = []
        accounts = {}
        for digest, model in asking:
            owner = self._store.owners.get(digest)
            if owner is None:
                asked.append(None)
                continue
            key_id, account_id = owner
            accounts[account_id] = self.tables["accounts"][account_id]
            asked.append(
                Asked(key_id, account_id, key_id in self._store.revoked, self._rate(model, account_id, now))
            )
        return asked, accounts

    def _rate(self, model: str, account_id: int, now: datetime) -> Rate | None:
        for owner in (account_id, None):
            begun = [
                (effective_at, rate.id, ends_at, rate)
                for of_model, of_account, effective_at, ends_at, rate in self._store.rates
                if (of_model, of_account) == (model, owner) and effective_at <= now
            ]
            if begun:
                *_, ends_at, rate = max(begun, key=lambda version: version[:2])
                if ends_at is None or now < ends_at:
                    return rate
        return None

    async def lock(self, account_ids: Collection[int]) -> dict[int, Standing]:
        table = self.tables["accounts"]
        return {id_: table[id_] for id_ in account_ids if id_ in table}

    async def due(self, now: datetime, after: int, limit: int) -> list[int]:
        accounts = self.tables["accounts"].values()
        due = (one.id for one in accounts if one.sweep_at is not None and one.sweep_at <= now and one.id > after)
        return sorted(due)[:limit]

    async def keys(self, key_ids: Collection[int]) -> dict[int, Allowance]:
        return {id_: self.tables["keys"][id_] for id_ in key_ids if id_ in self.tables["keys"]}

    async def forget(self, account_id: int, now: datetime) -> None:
        """No names are kept here."""

    async def owns(self, account_id: int, key_id: int) -> bool:
        return (key_id, account_id) in self._store.owners.values()

    async def lots(self, account_ids: Collection[int]) -> list[Lot]:
        lots = self.tables["lots"].values()
        return [lot for lot in lots if lot.account_id in account_ids and lot.remaining]

    async def lot(self, lot_id: int) -> Lot | None:
        return self.tables["lots"].get(lot_id)

    async def lot_of(self, cause: UUID) -> int | None:
        return self.tables["opened"].get(cause)

    async def moved(self, cause: UUID) -> bool:
        return cause in self.tables["causes"]

    async def holds(self, request_ids: Collection[UUID]) -> dict[UUID, OpenHold]:
        table = self.tables["holds"]
        return {id_: hold for id_ in request_ids if (hold := table.get(id_)) is not None}

    async def holds_of(self, account_ids: Collection[int]) -> list[OpenHold]:
        return [hold for hold in self.tables["holds"].values() if hold and hold.account_id in account_ids]

    async def resolved(self, request_ids: Collection[UUID]) -> dict[UUID, int]:
        return {id_: self.tables["usage"][id_] for id_ in request_ids if id_ in self.tables["usage"]}

    async def open_lot(self, new: NewLot, now: datetime) -> Lot:
        lot_id = await self.ledger_account(f"lot {new.cause}")
        lot = Lot(
            lot_id, new.account_id, new.source, now, new.expires_at, new.amount, new.amount, 0, new.expires_at,
            End.EXPIRY,
        )  # fmt: skip
        self.tables["lots"][lot_id] = lot
        self.tables["opened"][new.cause] = lot_id
        house = await self.ledger_account(HOUSE_OF_SOURCE[new.source])
        self._move([Transfer(new.cause, house, lot_id, new.amount, new.source.value)])
        return lot

    async def ledger_account(self, kind: str, account_id: int | None = None) -> int:
        table = self.tables["ledger"]
        if (kind, account_id) not in table:
            table[kind, account_id] = len(table) + 1
        return int(table[kind, account_id])

    async def write(self, changes: Changes) -> None:
        holds, usage = self.tables["holds"], self.tables["usage"]
        for new in changes.holds:
            assert new.request_id not in holds, "a request is held once"
            rate = next(rate for *_, rate in self._store.rates if rate.id == new.rate_id)
            holds[new.request_id] = OpenHold(
                new.request_id, new.account_id, new.key_id, new.model, new.endpoint, new.amount, changes.now, rate
            )
        for resolution in changes.resolutions:
            request_id = resolution.hold.request_id
            assert holds[request_id] == resolution.hold, "a hold is resolved once"
            assert request_id not in usage, "a request is charged once"
            holds[request_id] = None
            usage[request_id] = resolution.cost
        for lot in changes.lots:
            before = self.tables["lots"][lot.id]
            kept = replace(before, remaining=lot.remaining, frozen=lot.frozen, ends_at=lot.ends_at, end=lot.end)
            self.tables["lots"][lot.id] = kept
        for account in changes.accounts:
            _require_sound(account)
            self.tables["accounts"][account.id] = account
        for key_id, key in changes.keys.items():
            self.tables["keys"][key_id] = key
        self._move(changes.transfers)

    async def fetch(self, statement: str, *parameters: object) -> Sequence[Sequence[Any]]:
        raise AssertionError("no room above the ledger is simulated")

    def _move(self, transfers: Sequence[Transfer]) -> None:
        for transfer in transfers:
            assert transfer.amount > 0, "a transfer moves something"
            self.tables["causes"][transfer.cause] = True
        self.transfers += transfers


def _require_sound(account: Standing) -> None:
    """The table's own checks."""
    assert min(account.balance, account.owed, account.use.held, account.use.open_holds) >= 0, account
    if account.credit_limit is None:
        assert account.use.held <= account.balance, account
