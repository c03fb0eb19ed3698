"""What configs/plans.yaml says. Pure: a parsed document in, plans out."""

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec

from billing.plans.entitlements import Terms
from billing.prices.money import NANODOLLARS_PER_CENT, parse_dollars

CURRENCY = "usd"
MOST_CENTS = 99_999_999
"""As much as Stripe charges at once."""
FIRST_LANGUAGE = "en"

Id = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=400)]
Limit = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class PlansError(Exception):
    """A plan cannot be used as it is written; the message names the plan, the field and what is expected."""


class Plan(msgspec.Struct, frozen=True):
    """A month of it costs ``cents`` US cents as advertised; ``allowance`` is nano-dollars of usage in it.

    ``names`` and ``descriptions`` are by language; there always is English.
    """

    id: str
    names: Mapping[str, str]
    descriptions: Mapping[str, str]
    cents: int
    allowance: int
    terms: Terms

    def name(self, language: str) -> str:
        return in_language(self.names, language)

    def description(self, language: str) -> str:
        return in_language(self.descriptions, language)


class _Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    requests_per_minute: Limit | None = None
    tokens_per_minute: Limit | None = None
    concurrent_requests: Limit | None = None


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: Id
    name: Text | dict[str, Text]
    price: str
    allowance: str
    when_used_up: Literal["credits", "stop"]
    description: Text | dict[str, Text] = msgspec.field(default_factory=dict)
    currency: str = CURRENCY
    limits: _Limits = _Limits()
    models: Literal["all"] | list[str] = "all"
    priority: Annotated[int, msgspec.Meta(ge=-1000, le=1000)] | None = None


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    plans: list[dict[str, Any]] = []


def in_language(texts: Mapping[str, str], language: str) -> str:
    """In English if there is nothing else; "" if there is nothing at all."""
    return texts.get(language) or texts.get(FIRST_LANGUAGE, "")


def parse_plans(document: Mapping[str, Any], models: Collection[str]) -> tuple[Plan, ...]:
    """The plans in the order of the file; ``models`` are the ids that a plan may name. Raises PlansError."""
    try:
        entries = msgspec.convert(document, _File).plans
    except msgspec.ValidationError as error:
        raise PlansError(str(error)) from None
    plans = tuple(_plan(entry, number, models) for number, entry in enumerate(entries, 1))
    _require_different([plan.id for plan in plans], "id")
    for language in {language for plan in plans for language in plan.names}:
        _require_different([plan.name(language) for plan in plans], "name")
    return plans


def _plan(entry: Mapping[str, Any], number: int, models: Collection[str]) -> Plan:
    called = f"plan {entry.get('id', number)}"
    try:
        parsed = msgspec.convert(entry, _Entry)
    except msgspec.ValidationError as error:
        raise PlansError(f"{called}: {error}") from None
    if parsed.currency != CURRENCY:
        raise PlansError(
            f"{called}: currency: the books are in US dollars: {CURRENCY} is expected, not {parsed.currency!r}"
        )
    limits = parsed.limits
    return Plan(
        parsed.id,
        _texts(parsed.name, called, "name"),
        _texts(parsed.description, called, "description"),
        _cents(parsed.price, called),
        _allowance(parsed.allowance, called),
        Terms(
            stops=parsed.when_used_up == "stop",
            models=_models(parsed.models, called, models),
            requests_per_minute=limits.requests_per_minute,
            tokens_per_minute=limits.tokens_per_minute,
            concurrent_requests=limits.concurrent_requests,
            priority=parsed.priority,
        ),
    )


def _texts(text: str | Mapping[str, str], called: str, field: str) -> Mapping[str, str]:
    texts = {FIRST_LANGUAGE: text} if isinstance(text, str) else text
    if texts and FIRST_LANGUAGE not in texts:
        raise PlansError(f"{called}: {field}: one in English ({FIRST_LANGUAGE}) is expected")
    if field == "name" and not texts:
        raise PlansError(f"{called}: {field}: one is expected")
    return texts


def _cents(text: str, called: str) -> int:
    cents, rest = divmod(_dollars(text, called, "price"), NANODOLLARS_PER_CENT)
    if rest:
        raise PlansError(f"{called}: price: whole cents are expected, not {text!r}")
    if not 0 < cents <= MOST_CENTS:
        raise PlansError(f"{called}: price: an amount above 0 and below a million dollars is expected")
    return cents


def _allowance(text: str, called: str) -> int:
    allowance = _dollars(text, called, "allowance")
    if allowance <= 0:
        raise PlansError(f"{called}: allowance: an amount above 0 is expected")
    return allowance


def _dollars(text: str, called: str, field: str) -> int:
    try:
        return parse_dollars(text)
    except ValueError as error:
        raise PlansError(f"{called}: {field}: {error}") from None


def _models(chosen: Literal["all"] | list[str], called: str, models: Collection[str]) -> tuple[str, ...] | None:
    if chosen == "all":
        return None
    if not chosen:
        raise PlansError(f'{called}: models: "all" or at least one is expected')
    if unknown := sorted(set(chosen) - set(models)):
        raise PlansError(f"{called}: models: there is no model {', '.join(unknown)} in models.yaml")
    return tuple(sorted(set(chosen)))


def _require_different(values: Sequence[str], field: str) -> None:
    for value in values:
        if values.count(value) > 1:
            raise PlansError(f"plan {value}: {field}: two plans have it")
