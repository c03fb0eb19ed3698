"""Which tax a line bears: by rates that the request names, or by the customer's country where tax is automatic."""

from __future__ import annotations

from typing import Any

from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.tax import Payer, Taxed, ruling_for, taxed
from appliance.stripe_sandbox.tax_rates import create
from appliance.stripe_sandbox.world import World


def rates_named(world: World, names: list[str] | None, param: str) -> list[Object]:
    """Raises InvalidRequest."""
    return [world.get("tax_rate", name, param) for name in names or []]


def automatic_rates(world: World, payer: Payer, *, inclusive: bool) -> list[Object]:
    """The one rate for that payer, made when it is first used."""
    ruling = ruling_for(payer)
    where = payer.country
    for row in world.state.table("tax_rate").rows.values():
        same = (row["country"], row["inclusive"], row.get("_reason")) == (where, inclusive, ruling.reason)
        if row.get("_automatic") and same:
            return [row]
    sent = {
        "display_name": "VAT",
        "inclusive": inclusive,
        "percentage": float(ruling.statutory),
        "country": where,
        "tax_type": "vat",
    }
    row = create(world, sent)
    row.update(effective_percentage=float(ruling.percent), _automatic=True, _reason=ruling.reason)
    world.touch(row)
    return [row]


def is_inclusive(price: Object | None, behavior: str | None = None) -> bool:
    """``behavior`` is that of a line that has no price."""
    return (behavior if price is None else price["tax_behavior"]) == "inclusive"


def taxes_on(amount: int, rates: list[Object]) -> list[tuple[Object, Taxed]]:
    return [(rate, taxed(amount, used_percentage(rate), inclusive=rate["inclusive"])) for rate in rates]


def used_percentage(rate: Object) -> float:
    """``percentage`` is the place's, also where nothing is collected."""
    effective: float | None = rate["effective_percentage"]
    return float(rate["percentage"]) if effective is None else effective


def total_of(amount: int, taxes: list[tuple[Object, Taxed]]) -> int:
    return amount + sum(one.tax for _, one in taxes if not one.inclusive)


def tax_of(taxes: list[tuple[Object, Taxed]]) -> int:
    return sum(one.tax for _, one in taxes)


def reason(rate: Object) -> str:
    chosen: str | None = rate.get("_reason")
    return chosen or ("standard_rated" if rate["percentage"] else "not_collecting")


def as_invoice_taxes(taxes: list[tuple[Object, Taxed]]) -> list[dict[str, Any]]:
    """As a line of an invoice shows them."""
    return [
        {
            "amount": one.tax,
            "tax_behavior": "inclusive" if one.inclusive else "exclusive",
            "tax_rate_details": {"tax_rate": rate["id"]},
            "taxability_reason": reason(rate),
            "taxable_amount": one.taxable,
            "type": "tax_rate_details",
        }
        for rate, one in taxes
    ]
