"""One small world: the real code on a store, the model beside it, and an operation after the other to both.

Operations are plain tuples whose numbers pick among what is there, so that any part of a history can be played.
"""

import random
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from msgspec.structs import replace

from billing.charging.admission import Admission, Admitted, Request
from billing.charging.settlement import Ended, Metered, Settled, Settlement
from billing.customers.standing import Limits as RealLimits
from billing.customers.standing import Standings
from billing.errors import Conflict, HoldExceeded, NotFound
from billing.ids import lowest_id
from billing.ledger.credit import Credit
from billing.ledger.sweep import Sweeper
from billing.prices.pricing import Tokens
from billing.store.port import Changes
from billing.store.port import Lot as RealLot
from tests.billing.allowances import allow
from tests.simulation.ground import Ground, keys_of
from tests.simulation.memory import Crash
from tests.simulation.model import (
    DAY,
    EPOCH,
    Account,
    Asked,
    Limits,
    Lot,
    Model,
    Prices,
    Used,
    a_year_later,
    beside,
    micros,
    month,
)

ACCOUNTS = 6
START = datetime(2026, 1, 28, 12, tzinfo=EPOCH.tzinfo)
OF_AN_ACCOUNT = frozenset(
    {"buy", "grant", "allow", "pay", "move", "limit", "terms", "negotiate", "revoke", "plan"}
)
Operation = tuple[Any, ...]


class Difference(Exception):
    """The code and the model do not agree."""


class World:
    """``apply`` returns how many operations a tuple was, and raises Difference."""

    def __init__(self, ground: Ground, ids: list[int]) -> None:
        self.now = micros(START)
        self.ground = ground
        self.admission = Admission(ground.store, self.clock)
        self.settlement = Settlement(ground.store, self.clock)
        self.credit = Credit(ground.store, self.clock)
        self.standings = Standings(ground.store, self.clock)
        self.sweeper = Sweeper(ground.store, self.clock)
        self.ids = ids
        self.priced = f"model {ids[0]}"
        self.model = Model(ids)
        self.serial = ids[0] << 32
        self.owners: dict[UUID, int] = {}

    @classmethod
    async def create(cls, ground: Ground) -> "World":
        world = cls(ground, await ground.settle_accounts(ACCOUNTS, START))
        await world._rate((100_000, 20_000, 400_000, 0, 0, 0))
        return world

    def clock(self) -> datetime:
        return EPOCH + timedelta(microseconds=self.now)

    async def apply(self, operation: Operation) -> int:
        name, *arguments = operation
        if name in OF_AN_ACCOUNT:
            arguments[0] = self.ids[arguments[0] - 1]
        count: int = await getattr(self, f"_{name}")(*arguments)
        await self._compare()
        return count

    # Time, prices

    async def _tick(self, seconds: float) -> int:
        self.now += round(seconds * 1_000_000)
        return 1

    async def _rate(self, prices: Prices) -> int:
        if any(at == self.now for at, *_ in self.model.rates):
            return 0
        await self.ground.set_rate(self.priced, prices, self.clock())
        self.model.rates.append((self.now, None, prices))
        return 1

    async def _negotiate(self, number: int, prices: Prices, days: int | None) -> int:
        negotiated = self.model.accounts[number].negotiated
        if any(at == self.now for at, *_ in negotiated):
            return 0
        end = None if days is None else self.now + days * DAY
        ends_at = None if end is None else EPOCH + timedelta(microseconds=end)
        await self.ground.set_rate(self.priced, prices, self.clock(), number, ends_at)
        negotiated.append((self.now, end, prices))
        return 1

    async def _revoke(self, number: int, which: int) -> int:
        key = keys_of(number)[which]
        await self.ground.revoke(key, self.clock())
        self.model.accounts[number].revoked.add(key)
        return 1

    # Credit

    async def _buy(self, number: int, amount: int, crash: str | None) -> int:
        cause = self._id()
        await self._again(crash, lambda: self.credit.purchase(number, amount, "test", cause))
        return await self._opened(number, "purchase", amount, a_year_later(self.now), cause)

    async def _grant(self, number: int, amount: int, days: int) -> int:
        cause, end = self._id(), self.now + days * DAY
        expires = EPOCH + timedelta(microseconds=end)
        await self._allowed(self.credit.grant(number, amount, "test", cause, "kari", expires))
        return await self._opened(number, "grant", amount, end, cause)

    async def _allow(self, number: int, amount: int, days: int, stops: bool) -> int:
        cause, end = self._id(), self.now + days * DAY
        expires = EPOCH + timedelta(microseconds=end)
        store = self.ground.store
        await self._allowed(allow(store, self.clock, number, amount, expires, cause, stops=stops))
        if stops and await self.ground.opened(cause) is not None:
            self.model.accounts[number].stops_until = end
        return await self._opened(number, "allowance", amount, end, cause)

    async def _opened(self, number: int, source: str, amount: int, end: int, cause: UUID) -> int:
        account = self.model.accounts[number]
        opened = await self.ground.opened(cause)
        if (account.status in ("active", "suspended")) != (opened is not None):
            raise Difference(f"account {number} is {account.status}, and lot {opened} was opened")
        if opened is not None:
            moment = self._moment_after(number) if source == "allowance" else self.now
            account.lots.append(Lot(opened, source, moment, end, end, "expiry", amount, amount))
            self.model.sweep(account, moment)
        return 1

    def _moment_after(self, number: int) -> int:
        """Now, but not before a request that runs was admitted by another's clock."""
        return max([self.now, *(hold.created for hold in self.model.running(number))])

    async def _refund(self, pick: int) -> int:
        if (found := self._pick_lot(pick)) is None:
            return 0
        account, lot = found
        refundable = (
            lot.source == "purchase"
            and lot.why == "expiry"
            and lot.ends > self.now
            and lot.left == lot.amount
            and self.now <= lot.acquired + 30 * DAY
            and not self.model.claimed(account, self.now)[lot.number]
        )
        await self._expect(refundable, self.credit.refund(lot.number, "kari", "test"))
        if refundable:
            lot.left, lot.ends, lot.why = 0, self.now, "refund"
            self.model.sweep(account, self.now)
        return 1

    async def _dispute(self, pick: int) -> int:
        if (found := self._pick_lot(pick)) is None:
            return 0
        account, lot = found
        possible = lot.source == "purchase" and lot.why in ("expiry", "forfeiture")
        await self._expect(possible, self.credit.open_dispute(lot.number))
        if possible:
            moment = self._moment_after(account.number)
            lot.ends, lot.why = min(lot.ends, moment), "dispute"
            self.model.sweep(account, moment)
        return 1

    async def _decide(self, pick: int, won: bool) -> int:
        if (found := self._pick_lot(pick)) is None:
            return 0
        account, lot = found
        possible = lot.why == "dispute" and (won or not lot.left)
        call = self.credit.win_dispute(lot.number) if won else self.credit.lose_dispute(lot.number)
        await self._expect(possible, call)
        if possible and won:
            closed = account.status not in ("active", "suspended")
            lot.ends, lot.why = (min(self.now, lot.expires), "forfeiture") if closed else (lot.expires, "expiry")
            lot.left, lot.frozen = lot.left + lot.frozen, 0
        elif possible:
            account.owed += lot.amount - lot.frozen
            lot.frozen, lot.why = 0, "chargeback"
        if possible:
            self.model.sweep(account, self.now)
        return 1

    async def _pay(self, number: int, amount: int) -> int:
        account = self.model.accounts[number]
        possible = amount <= account.owed
        await self._expect(possible, self.credit.pay_receivable(number, amount, self._id(), "kari"))
        if possible:
            account.owed -= amount
            self.model.sweep(account, self.now)
        return 1

    # Standing

    async def _move(self, number: int, verb: str) -> int:
        account = self.model.accounts[number]
        status = account.status
        goes = {
            "suspend": status == "active",
            "resume": status in ("suspended", "terminated"),
            "terminate": status in ("active", "suspended"),
            "mark_for_deletion": status in ("active", "suspended", "terminated"),
            "restore": status == "deleting" and account.delete_at is not None and self.now < account.delete_at,
        }[verb]
        await self._expect(goes, getattr(self.standings, verb)(number, "kari", "test"))
        if not goes:
            return 1
        if verb == "terminate":
            moment = self._moment_after(number)
            for lot in account.lots:
                if lot.left and lot.why != "dispute" and lot.ends > moment:
                    lot.ends, lot.why = moment, "forfeiture"
            self.model.sweep(account, moment)
        if verb == "mark_for_deletion":
            account.before, account.delete_at = status, self.now + 30 * DAY
        after = {"suspend": "suspended", "resume": "active", "terminate": "terminated"}
        account.status = after.get(verb) or ("deleting" if verb == "mark_for_deletion" else account.before or "")
        return 1

    async def _limit(self, number: int, which: int | None, values: Sequence[int | None]) -> int:
        account = self.model.accounts[number]
        key = None if which is None else keys_of(number)[which]
        await self.standings.set_limits(number, "kari", RealLimits(*values), key)
        limits = account.limits
        if key is not None:
            limits = account.key_limits.setdefault(key, Limits(month=month(self.now)))
        limits.per_minute, limits.tokens, limits.at_once, limits.budget = values
        limits.full_at = limits.tokens_full_at = 0
        return 1

    async def _terms(self, number: int, credit_limit: int | None) -> int:
        account = self.model.accounts[number]
        possible = credit_limit is not None or self.model.held(number) <= account.balance()
        call = self.standings.set_terms(number, "kari", credit_limit=credit_limit, priority=0, reason="test")
        await self._expect(possible, call)
        if possible:
            account.credit_limit = credit_limit
        return 1

    async def _plan(self, number: int, models: str) -> int:
        """The account's plan is for all models, for ours, or for another."""
        chosen = {"all": None, "ours": (self.priced,), "another": ("another",)}[models]
        async with self.ground.store.begin() as transaction:
            account = (await transaction.lock([number]))[number]
            await transaction.write(Changes(self.clock(), accounts=[replace(account, models=chosen)]))
        self.model.accounts[number].in_plan = models != "another"
        return 1

    async def _sweep(self) -> int:
        await self.sweeper.run_once()
        for account in self.model.accounts.values():
            self.model.sweep(account, self.now)
        return 1

    # Requests

    async def _ask(self, wanted: Sequence[tuple[int, int, Asked]], crash: str | None) -> int:
        asked = [
            (self.ids[number - 1], keys_of(self.ids[number - 1])[which], what) for number, which, what in wanted
        ]
        requests = [
            Request(self._id(), b"%d" % key, self.priced, "/v1/completions", *what) for _, key, what in asked
        ]
        self.owners.update((request.id, number) for request, (number, *_) in zip(requests, asked, strict=True))
        self.ground.crash = crash
        try:
            decisions = await self.admission.admit_all(requests)
        except Crash:
            if crash == "before":
                return await self._ask(wanted, None)
            decisions = []
        for number, key, _ in asked:
            account = self.model.accounts[number]
            self.model.sweep(account, self.now)
            for limits in filter(None, (account.limits, account.key_limits.get(key))):
                limits.roll(self.now)
        expected = [
            self.model.ask(number, key, request.id, what, self.now)
            for request, (number, key, what) in zip(requests, asked, strict=True)
        ]
        for request, decision, foreseen in zip(requests, decisions, expected, strict=False):
            found: tuple[Any, ...]
            if isinstance(decision, Admitted):
                found = ("admitted", decision.hold, decision.completion_limit)
            else:
                found = (decision.reason.value,)
            if found != foreseen:
                raise Difference(f"request {request} is {found}, foreseen {foreseen}")
        return len(asked)

    async def _settle(self, parts: Sequence[tuple[int, float, float, float, bool]], crash: str | None) -> int:
        batch = []
        for pick, prompt, cached, completion, nothing in parts:
            if (request := self._pick_request(pick)) is not None:
                batch.append((request, self._used(request, prompt, cached, completion, nothing)))
        if not batch:
            return 0
        metered = [
            Metered(request, self.owners[request], Tokens(*tokens), Ended.COMPLETE) for request, tokens in batch
        ]
        self.ground.crash = crash
        try:
            outcomes = await self.settlement.settle_all(metered)
        except Crash:
            outcomes = await self.settlement.settle_all(metered)
        foreseen = self._foresee(dict(batch))
        for (request, tokens), outcome in zip(batch, outcomes, strict=True):
            if (found := _outcome(outcome)) != foreseen[request]:
                raise Difference(f"settling {request} with {tokens} is {found}, foreseen {foreseen[request]}")
        return len(batch)

    def _foresee(self, batch: dict[UUID, Used]) -> dict[UUID, tuple[Any, ...]]:
        """A batch in which nothing is open looks only what was charged."""
        opened = {self.owners[request] for request in batch if request in self.model.holds}
        touched = [self.model.accounts[number] for number in {self.owners[request] for request in batch}]
        for account in touched if opened else []:
            account.limits.roll(self.now)
        for hold in [self.model.holds[request] for request in batch if request in self.model.holds]:
            if (limits := self.model.accounts[hold.account].key_limits.get(hold.key)) is not None:
                limits.roll(self.now)
        foreseen = {request: self.model.settle(request, tokens, self.now) for request, tokens in batch.items()}
        for account in touched if opened else []:
            self.model.sweep(account, self.now)
        return foreseen

    # Helpers

    def _used(self, request: UUID, prompt: float, cached: float, completion: float, nothing: bool) -> Used:
        """Shares of what is held for tokens, above 1 for more than that."""
        hold = self.model.holds.get(request)
        if hold is None or nothing:
            return (0, 0, 0, 0, 0)
        rate = hold.rate
        amount = max(0, hold.amount * 1000 - beside(rate, hold.images, hold.audio))
        tokens = int(amount * prompt / max(rate[0], rate[1], 1))
        return tokens, int(tokens * cached), int(amount * completion / max(rate[2], 1)), hold.images, hold.audio

    def _pick_request(self, pick: int) -> UUID | None:
        """Mostly an open one; every eighth number picks one that is charged already."""
        known = list(self.model.charged) if pick % 8 == 0 else list(self.model.holds)
        return known[pick // 8 % len(known)] if known else None

    def _pick_lot(self, pick: int) -> tuple[Account, Lot] | None:
        lots = [(one, lot) for one in self.model.accounts.values() for lot in one.lots]
        return lots[pick % len(lots)] if lots else None

    def _id(self) -> UUID:
        self.serial += 1
        return UUID(int=lowest_id(self.clock()).int | self.serial)

    async def _again(self, crash: str | None, call: Any) -> None:
        self.ground.crash = crash
        try:
            await self._allowed(call())
        except Crash:
            await self._allowed(call())
        self.ground.crash = None

    @staticmethod
    async def _allowed(call: Any) -> bool:
        try:
            await call
        except Conflict:
            return False
        return True

    async def _expect(self, possible: bool, call: Any) -> None:
        if await self._allowed(call) != possible:
            raise Difference(f"it was {'refused' if possible else 'done'}")

    async def _compare(self) -> None:
        accounts, lots = await self.ground.look(self.ids)
        for number, account in self.model.accounts.items():
            real = accounts[number]
            found = (real.status, real.balance, real.owed, real.use.held, real.use.open_holds)
            foreseen = (
                account.status, account.balance(), account.owed, self.model.held(number),
                len(self.model.running(number)),
            )  # fmt: skip
            if found != foreseen:
                raise Difference(f"account {number} is {found}, foreseen {foreseen}")
            if real.use.month == account.limits.month and real.use.month_spent != account.limits.this_month():
                raise Difference(f"account {number} spent {real.use.month_spent}")
            ends = [lot.ends for lot in account.lots if lot.left]
            if (real.sweep_at and micros(real.sweep_at)) != (min(ends) if ends else None):
                raise Difference(f"account {number} is looked for at {real.sweep_at}")
            _compare_lots(account, lots)

    async def check_books(self) -> None:
        """Every lot's remainder is the sum of its transfers, and a debt that of its receivable's."""
        transfers = await self.ground.transfers()
        if transfers is None:
            return
        sums: dict[int | None, int] = {}
        for transfer in transfers:
            sums[transfer.credit] = sums.get(transfer.credit, 0) + transfer.amount
            sums[transfer.debit] = sums.get(transfer.debit, 0) - transfer.amount
        for lot in (await self.ground.look(self.ids))[1].values():
            if sums.get(lot.id, 0) != lot.remaining:
                raise Difference(f"the transfers of {lot} add up to {sums.get(lot.id, 0)}")
        for number, account in self.model.accounts.items():
            if -sums.get(await self.ground.receivable(number), 0) != account.owed:
                raise Difference(f"the receivable of account {number} is not {account.owed}")


def _compare_lots(account: Account, lots: Mapping[int, RealLot]) -> None:
    """The ground may not show lots that hold nothing."""
    for lot in account.lots:
        kept = lots.get(lot.number)
        if kept is None and lot.left:
            raise Difference(f"{lot} is gone")
        if kept and (kept.remaining, kept.frozen, kept.end.value) != (lot.left, lot.frozen, lot.why):
            raise Difference(f"lot {kept}, foreseen {lot}")


def _outcome(outcome: Settled | Exception) -> tuple[Any, ...]:
    if isinstance(outcome, Settled):
        return ("settled", outcome.cost)
    if isinstance(outcome, HoldExceeded):
        return ("exceeded",)
    if isinstance(outcome, NotFound):
        return ("unknown",)
    raise outcome


def history(rng: random.Random, length: int, batch: int = 1) -> list[Operation]:
    """Random operations; requests and their settlements are most of them, in batches that grow with ``batch``."""
    return [_operation(rng, batch) for _ in range(length)]


def _operation(rng: random.Random, batch: int) -> Operation:  # noqa: C901 -- a table
    number, roll = rng.randint(1, ACCOUNTS), rng.random()
    amount = rng.choice([1, rng.randint(1, 10_000), rng.randint(1, 10**6), 10**9])
    crash = rng.choice([None] * 18 + ["before", "after"])
    if roll < 0.38:
        return ("ask", [_asked(rng) for _ in range(batch * rng.choice([1, 1, 2, 5]))], crash)
    if roll < 0.76:
        return ("settle", [_used(rng) for _ in range(batch * rng.choice([1, 1, 2, 5]))], crash)
    if roll < 0.86:
        long = rng.choice([1, 10, 100, 86_400, 86_400 * 20, 86_400 * 200])
        return ("tick", round(rng.uniform(0, long), rng.choice([0, 6])) * rng.choice([1] * 14 + [-0.001]))
    if roll < 0.90:
        return ("buy", number, amount, crash)
    rare = rng.randrange(14)
    if rare == 0:
        return ("grant", number, amount, rng.randint(1, 500))
    if rare == 1:
        return ("allow", number, amount, 30, rng.random() < 0.5)
    if rare == 2:
        return ("refund", rng.randrange(1000))
    if rare == 3:
        return ("dispute", rng.randrange(1000))
    if rare == 4:
        return ("decide", rng.randrange(1000), rng.random() < 0.5)
    if rare == 5:
        return ("pay", number, rng.randint(1, 20_000))
    if rare == 6:
        verbs = ["suspend", "resume", "resume", "resume", "terminate", "mark_for_deletion", "restore", "restore"]
        return ("move", number, rng.choice(verbs))
    if rare == 7:
        few = [None, None, rng.randint(1, 5), rng.randint(1, 100)]
        return ("limit", number, rng.choice([None, 0, 1]), (rng.choice(few), rng.choice([None, None, 500]),
                rng.choice([*few, 9]), rng.choice([None, None, amount])))  # fmt: skip
    if rare == 8:
        return ("terms", number, rng.choice([None, 0, amount]))
    if rare == 9:
        return ("rate", _prices(rng))
    if rare == 10:
        return ("negotiate", number, _prices(rng), rng.choice([None, 1, 30]))
    if rare == 11 and rng.random() < 0.2:
        return ("revoke", number, rng.randrange(2))
    if rare == 12:
        return ("plan", number, ("all", "ours", "another", "all")[amount % 4])
    return ("sweep",)


def _prices(rng: random.Random) -> Prices:
    each = [rng.choice([0, 0, rng.randrange(2_000)]) for _ in range(3)]
    tokens = rng.randrange(300_000), rng.randrange(300_000), rng.choice([0, rng.randrange(900_000)])
    return (*tokens, each[0], each[1], each[2])


def _asked(rng: random.Random) -> tuple[int, int, Asked]:
    prompt, completion = rng.randint(0, rng.choice([10, 1000])), rng.randint(0, rng.choice([10, 500]))
    beside_tokens = rng.choice([0, 0, 0, rng.randint(1, 4)]), rng.choice([0, 0, 0, rng.randint(1, 90)])
    what = (prompt, completion, rng.choice([1, 1, 1, 3]), rng.random() < 0.5, *beside_tokens)
    return rng.randint(1, ACCOUNTS), rng.choice([0, 0, 1]), what


def _used(rng: random.Random) -> tuple[int, float, float, float, bool]:
    prompt = rng.choice([0.0, rng.random(), 1.1 * rng.random()])
    completion = rng.random() * (1.02 - min(prompt, 1.0))
    return rng.randrange(8000), prompt, rng.choice([0.0, rng.random()]), completion, rng.random() < 0.05
