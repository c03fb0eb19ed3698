"""Stripe Tax: what a sale's tax is, and what Stripe has to know for that."""

from collections.abc import Sequence
from typing import Any, cast

from billing.documents.buyers import Buyer
from billing.documents.europe import IN_EU
from billing.documents.vat import Reckoned
from billing.payments.provider import CURRENCY, Calculation
from billing.payments.stripe import reading
from billing.payments.stripe.connection import PAGE, Connection
from billing.payments.stripe.errors import asked
from billing.payments.stripe.objects import Seen, pages, seen_of

KINDS = {"CH": "ch_vat", "GB": "gb_vat", "NO": "no_vat"} | dict.fromkeys(IN_EU, "eu_vat")
"""What Stripe calls the tax numbers of a country. Those of other countries are not told."""
SWISS_ENDINGS = ("MWST", "TVA", "IVA")
BETWEEN = str.maketrans("", "", ".-/")
"""What people write between the parts of a number beside spaces, and Stripe does not."""


class Tax(Connection):
    async def put_buyer(self, customer: str, buyer: Buyer, key: str) -> None:
        changed = self._v1.customers.update_async(
            customer,
            cast(
                "Any",
                {"name": buyer.name, "address": address_of(buyer), "tax": {"validate_location": "immediately"}},
            ),
            {"idempotency_key": key},
        )
        await asked(changed)
        wanted = [(one["type"], one["value"]) for one in tax_ids_of(buyer)]
        listed = self._v1.customers.tax_ids.list_async(customer, {"limit": PAGE})
        known = [one async for page in pages(await asked(listed)) for one in page]
        for one in known:
            if (one["type"], one["value"]) not in wanted:
                await asked(self._v1.customers.tax_ids.delete_async(customer, one["id"]))
        for kind, value in wanted:
            if all((one["type"], one["value"]) != (kind, value) for one in known):
                made = self._v1.customers.tax_ids.create_async(
                    customer, cast("Any", {"type": kind, "value": value}), {"idempotency_key": f"{key}-{kind}"}
                )
                await asked(made)
        await self._tax_again(customer, key)

    async def _tax_again(self, customer: str, key: str) -> None:
        """Its subscriptions, where Stripe has put the tax off because it did not know where the customer is."""
        listed = self._v1.subscriptions.list_async({"customer": customer, "limit": PAGE})
        async for page in pages(await asked(listed)):
            for one in page:
                if (one.get("automatic_tax") or {}).get("disabled_reason") is not None:
                    changed = self._v1.subscriptions.update_async(
                        one["id"], {"automatic_tax": {"enabled": True}}, {"idempotency_key": f"{key}-{one['id']}"}
                    )
                    await asked(changed)

    async def calculate_tax(self, buyer: Buyer, cents: int, *, key: str) -> Calculation:
        assert self._tax is not None, "Stripe reckons the tax"
        line = {
            "amount": cents,
            "reference": "sale",
            "tax_behavior": self._tax_behavior,
            "tax_code": self._tax.code,
        }
        payer = {"address": address_of(buyer), "address_source": "billing", "tax_ids": tax_ids_of(buyer)}
        made = self._v1.tax.calculations.create_async(
            cast("Any", {"currency": CURRENCY, "customer_details": payer, "line_items": [line]}),
            {"idempotency_key": key},
        )
        return reading.calculation(seen_of(await asked(made)))

    async def tax_lacks(self) -> Sequence[str]:
        seen = seen_of(await asked(self._v1.tax.settings.retrieve_async()))
        if seen["status"] == "active":
            return ()
        pending = (seen.get("status_details") or {}).get("pending") or {}
        return tuple(pending.get("missing_fields") or ("head_office",))

    async def _tax_of(self, invoice: Seen) -> Reckoned | None:
        """Of an invoice, or of what one would be. Its taxes name their rates, which are asked for."""
        taxes = invoice.get("total_taxes") or ()
        if not (invoice.get("automatic_tax") or {}).get("enabled") or not taxes:
            return None
        points = 0
        for name in {one["tax_rate_details"]["tax_rate"] for one in taxes if one.get("tax_rate_details")}:
            rate = seen_of(await asked(self._v1.tax_rates.retrieve_async(name)))
            points += reading.basis_points_of(rate)
        vat = sum(one["amount"] for one in taxes)
        included = any(one["tax_behavior"] == "inclusive" for one in taxes)
        return Reckoned(vat, points, reading.reason_of(taxes), included)


def address_of(buyer: Buyer) -> dict[str, str]:
    return {
        "line1": buyer.address,
        "postal_code": buyer.postal_code,
        "city": buyer.city,
        "country": buyer.country,
    }


def tax_ids_of(buyer: Buyer) -> list[dict[str, str]]:
    """As Stripe writes them: in Norway and Switzerland with an ending that some leave out."""
    kind = KINDS.get(buyer.country)
    if not buyer.business or not buyer.tax_number or kind is None:
        return []
    value = "".join(buyer.tax_number.split()).translate(BETWEEN).upper()
    digits = "".join(one for one in value if one.isdigit())
    if kind == "no_vat":
        value = f"{digits}MVA"
    elif kind == "ch_vat":
        ending = next((one for one in SWISS_ENDINGS if value.endswith(one)), SWISS_ENDINGS[0])
        value = f"CHE-{digits[:3]}.{digits[3:6]}.{digits[6:]} {ending}"
    return [{"type": kind, "value": value}]
