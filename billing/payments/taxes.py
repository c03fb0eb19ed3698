"""What something costs with its tax: by the table, or as Stripe reckons it. Never inside a transaction.

docs/decisions/0033-value-added-tax.md says how the two differ.
"""

from billing.documents.buyers import Buyer
from billing.documents.vat import Quote, Taxing, quote, quote_reckoned
from billing.payments.provider import Provider


class Taxes:
    """Raises PaymentsUnavailable, PaymentsRefused where Stripe reckons; BuyerRefused of a buyer who is nowhere."""

    def __init__(self, provider: Provider, taxing: Taxing) -> None:
        self._provider = provider
        self._taxing = taxing

    def by_table(self, price: int, buyer: Buyer, *, is_credit: bool) -> Quote | None:
        """None where Stripe has to be asked."""
        return None if self._taxing.by_stripe else quote(price, buyer, self._taxing, is_credit=is_credit)

    async def quote(self, price: int, buyer: Buyer, *, is_credit: bool, key: str) -> Quote:
        """Of a price in cents, as it is advertised. The same ``key`` must come with the same price and buyer."""
        if (known := self.by_table(price, buyer, is_credit=is_credit)) is not None:
            return known
        calculated = await self._provider.calculate_tax(buyer, price, key=key)
        return quote_reckoned(calculated.cents, calculated.tax, buyer, self._taxing, calculated.id)
