"""The plain model, from docs/money.md: nothing is kept that can be recomputed, time is integer microseconds.

It shares no code with ``billing``. Slow and obvious on purpose.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Prices = tuple[int, int, int, int, int, int]
Used = tuple[int, int, int, int, int]
Asked = tuple[int, int, int, bool, int, int]
MINUTE = 60_000_000
DAY = 86_400_000_000


def micros(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def month(at: int) -> int:
    moment = EPOCH + timedelta(microseconds=at)
    return moment.year * 12 + moment.month - 1


def a_year_later(at: int) -> int:
    moment = EPOCH + timedelta(microseconds=at)
    if (moment.month, moment.day) == (2, 29):
        moment = moment.replace(month=3, day=1)
    return micros(moment.replace(year=moment.year + 1))


def beside(rate: Prices, images: int, audio: int) -> int:
    """Pico-dollars of what is not tokens."""
    return 1000 * (rate[3] + images * rate[4] + audio * rate[5])


@dataclass
class Lot:
    number: int
    source: str
    acquired: int
    expires: int
    ends: int
    why: str
    amount: int
    left: int
    frozen: int = 0

    @property
    def turn(self) -> tuple[bool, int, int]:
        return (self.source != "allowance", self.acquired, self.number)


@dataclass
class Hold:
    request: Any
    account: int
    key: int
    amount: int
    created: int
    rate: "Prices"
    images: int
    audio: int


@dataclass
class Limits:
    """Of an account, or of a key that has some."""

    per_minute: int | None = None
    tokens: int | None = None
    at_once: int | None = None
    budget: int | None = None
    full_at: int = 0
    tokens_full_at: int = 0
    month: int = 0
    spent: dict[int, int] = field(default_factory=dict)

    def roll(self, now: int) -> None:
        self.month = max(self.month, month(now))

    def this_month(self) -> int:
        return self.spent.get(self.month, 0)


@dataclass
class Account:
    number: int
    status: str = "active"
    before: str | None = None
    delete_at: int | None = None
    credit_limit: int | None = None
    owed: int = 0
    stops_until: int | None = None
    in_plan: bool = True
    lots: list[Lot] = field(default_factory=list)
    limits: Limits = field(default_factory=Limits)
    key_limits: dict[int, Limits] = field(default_factory=dict)
    revoked: set[int] = field(default_factory=set)
    negotiated: list[tuple[int, int | None, Prices]] = field(default_factory=list)
    gone: dict[str, int] = field(default_factory=dict)

    def balance(self) -> int:
        return sum(lot.left for lot in self.lots)


class Model:
    """Prices: micro-dollars per million tokens of input, cached input and output, then nano-dollars for each.

    A request is asked with (prompt, completion, sequences, counted, images, seconds of audio), and used
    (prompt, cached, completion, images, seconds of audio).
    """

    def __init__(self, accounts: list[int]) -> None:
        self.accounts = {number: Account(number) for number in accounts}
        self.holds: dict[Any, Hold] = {}
        self.charged: dict[Any, int] = {}
        self.rates: list[tuple[int, int | None, Prices]] = []

    def held(self, number: int, key: int | None = None) -> int:
        return sum(hold.amount for hold in self.running(number, key))

    def running(self, number: int, key: int | None = None) -> list[Hold]:
        return [hold for hold in self.holds.values() if hold.account == number and key in (None, hold.key)]

    def rate(self, account: Account, now: int) -> Prices | None:
        for versions in (account.negotiated, self.rates):
            begun = [(at, place, end, prices) for place, (at, end, prices) in enumerate(versions) if at <= now]
            if begun:
                *_, end, prices = max(begun, key=lambda version: version[:2])
                if end is None or now < end:
                    return prices
        return None

    def lot(self, number: int) -> tuple[Account, Lot]:
        return next((one, lot) for one in self.accounts.values() for lot in one.lots if lot.number == number)

    # What ends

    def claimed(self, account: Account, now: int) -> dict[int, int]:
        left = {lot.number: lot.left for lot in account.lots}
        claimed = dict.fromkeys(left, 0)
        for hold in sorted(self.running(account.number), key=lambda hold: (hold.created, hold.request)):
            need = hold.amount
            for lot in sorted(account.lots, key=lambda lot: lot.turn):
                if lot.ends > now or lot.ends >= hold.created:
                    part = min(need, left[lot.number])
                    left[lot.number] -= part
                    claimed[lot.number] += part
                    need -= part
        return claimed

    def sweep(self, account: Account, now: int) -> None:
        if not any(lot.left and lot.ends <= now for lot in account.lots):
            return
        claimed = self.claimed(account, now)
        for lot in account.lots:
            if lot.ends <= now:
                rest = lot.left - claimed[lot.number]
                lot.left -= rest
                if lot.why == "dispute":
                    lot.frozen += rest
                account.gone[lot.why] = account.gone.get(lot.why, 0) + rest

    # Admission

    def ask(self, number: int, key: int, request: Any, asked: Asked, now: int) -> tuple[Any, ...]:
        """("admitted", hold, completion) or (reason,). The batch's accounts were swept and rolled before."""
        prompt, _, sequences, _, images, audio = asked
        account = self.accounts[number]
        if key in account.revoked:
            return ("invalid_key",)
        if account.status != "active":
            return (f"account_{account.status}",)
        rate = self.rate(account, now)
        if rate is None:
            return ("unknown_model",)
        if not account.in_plan:
            return ("model_not_in_plan",)
        both = ((account.limits, None), (account.key_limits.get(key), key))
        for limits, of_key in both:
            if limits is not None and (reason := self._limited(limits, number, of_key, now)):
                return (reason,)
        fitted = self._fit(account, key, rate, asked, now)
        if isinstance(fitted, str):
            return (fitted,)
        completion, dearest = fitted, max(rate[0], rate[1])
        picos = prompt * dearest + completion * sequences * rate[2] + beside(rate, images, audio)
        amount = round(Fraction(picos, 1000))
        self.holds[request] = Hold(request, number, key, amount, now, rate, images, audio)
        for limits, _ in both:
            if limits is not None and limits.per_minute:
                limits.full_at = max(limits.full_at, now) + round(Fraction(MINUTE, limits.per_minute))
        return ("admitted", amount, completion)

    def _fit(self, account: Account, key: int, rate: Prices, asked: Asked, now: int) -> int | str:
        """The completion tokens a sequence that the account can pay, or why it cannot."""
        prompt, completion, sequences, counted, images, audio = asked
        available, want = self._available(account, key, now)
        dearest = max(rate[0], rate[1])
        rest = available * 1000 - beside(rate, images, audio)
        picos = rest - prompt * dearest
        most = picos // (rate[2] * sequences) if rate[2] else 10**12
        if picos < 0:
            most = -1
        if most >= completion:
            return completion
        least = rest - dearest - rate[2] * sequences * min(1, completion)
        if not counted and available > 0 and least >= 0:
            return "count_needed"
        return want if most < 1 else most

    def _limited(self, limits: Limits, number: int, key: int | None, now: int) -> str | None:
        if limits.at_once is not None and len(self.running(number, key)) >= limits.at_once:
            return "concurrent_requests"
        for per_minute, full_at, name in (
            (limits.per_minute, limits.full_at, "requests_per_minute"),
            (limits.tokens, limits.tokens_full_at, "tokens_per_minute"),
        ):
            if per_minute and max(full_at, now) + round(Fraction(MINUTE, per_minute)) - now > MINUTE:
                return name
        return None

    def _available(self, account: Account, key: int, now: int) -> tuple[int, str]:
        held = self.held(account.number)
        available, want = account.balance() - held, "insufficient_credit"
        if account.credit_limit is not None:
            available += max(0, account.credit_limit - account.owed)
        if account.stops_until is not None and now < account.stops_until:
            allowed = sum(lot.left for lot in account.lots if lot.source == "allowance" and lot.ends > now)
            available = min(available, allowed - held)
        for limits, of_key, name in (
            (account.limits, None, "budget_spent"),
            (account.key_limits.get(key), key, "key_budget_spent"),
        ):
            if limits is not None and limits.budget is not None:
                rest = limits.budget - limits.this_month() - self.held(account.number, of_key)
                if rest < available:
                    available, want = rest, name
        return available, want

    # Settlement

    def cost(self, request: Any, tokens: Used) -> int:
        rate, (prompt, cached, completion, images, audio) = self.holds[request].rate, tokens
        if not any(tokens):
            return 0
        picos = (prompt - cached) * rate[0] + cached * rate[1] + completion * rate[2]
        return round(Fraction(picos + beside(rate, images, audio), 1000))

    def settle(self, request: Any, tokens: Used, now: int) -> tuple[Any, ...]:
        """("settled", cost), or ("exceeded",), or ("unknown",). Sweeping comes after the batch."""
        if request in self.charged:
            return ("settled", self.charged[request])
        if request not in self.holds:
            return ("unknown",)
        cost = self.cost(request, tokens)
        hold = self.holds[request]
        if cost > hold.amount:
            return ("exceeded",)
        account, need = self.accounts[hold.account], cost
        for lot in sorted(account.lots, key=lambda lot: lot.turn):
            if lot.ends > now or lot.ends >= hold.created:
                part = min(need, lot.left)
                lot.left -= part
                need -= part
        assert need == 0 or account.credit_limit is not None, "the model's own lots are short"
        account.owed += need
        for limits in filter(None, (account.limits, account.key_limits.get(hold.key))):
            if limits.tokens:
                used = round(Fraction(MINUTE * (tokens[0] + tokens[2]), limits.tokens))
                limits.tokens_full_at = max(limits.tokens_full_at, now) + used
            if month(hold.created) == limits.month:
                limits.spent[limits.month] = limits.this_month() + cost
        del self.holds[request]
        self.charged[request] = cost
        return ("settled", cost)
