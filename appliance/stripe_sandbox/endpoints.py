"""Which request goes to which function, and what it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from appliance.stripe_sandbox import (
    accounts,
    balance,
    catalog,
    charges,
    checkout,
    customers,
    disputes,
    events,
    invoice_items,
    invoices,
    payment_intents,
    payment_methods,
    refunds,
    setup_intents,
    subscription_updates,
    subscriptions,
    tax_calculations,
    tax_ids,
    tax_rates,
    tax_settings,
    tax_transactions,
    test_clocks,
    webhooks,
)
from appliance.stripe_sandbox.lists import UNDATED
from appliance.stripe_sandbox.params import Many, Schema, text
from appliance.stripe_sandbox.state import Object

EXPAND: Schema = {"expand": Many(text)}
NOTHING: Schema = {}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """``act`` takes the world, the parameters that were read by ``schema``, and the ids in the path."""

    method: str
    path: tuple[str, ...]
    act: Callable[..., Object]
    schema: Schema

    def names(self, parts: list[str]) -> list[str] | None:
        """The ids in a path of the same length; None if it is another endpoint's."""
        found = []
        for mine, theirs in zip(self.path, parts, strict=True):
            if mine == "{}":
                found.append(theirs)
            elif mine != theirs:
                return None
        return found


def _endpoint(line: str, act: Callable[..., Object], schema: Schema = NOTHING) -> Endpoint:
    method, path = line.split()
    return Endpoint(method, tuple(path.strip("/").split("/")), act, {**schema, **EXPAND})


ENDPOINTS = (
    _endpoint("GET /v1/account", accounts.retrieve),
    _endpoint("GET /v1/webhook_endpoints", webhooks.endpoints, UNDATED),
    _endpoint("POST /v1/customers", customers.create, customers.CREATED),
    _endpoint("GET /v1/customers", customers.listed, customers.LISTED),
    _endpoint("GET /v1/customers/{}", customers.retrieve),
    _endpoint("POST /v1/customers/{}", customers.update, customers.UPDATED),
    _endpoint("DELETE /v1/customers/{}", customers.delete),
    _endpoint(
        "GET /v1/customers/{}/payment_methods",
        payment_methods.listed_of_customer,
        payment_methods.LISTED_OF_CUSTOMER,
    ),
    _endpoint("GET /v1/customers/{}/payment_methods/{}", payment_methods.retrieve_of_customer),
    _endpoint("POST /v1/products", catalog.create_product, catalog.PRODUCT_CREATED),
    _endpoint("GET /v1/products", catalog.list_products, catalog.PRODUCTS_LISTED),
    _endpoint("GET /v1/products/{}", catalog.retrieve_product),
    _endpoint("POST /v1/products/{}", catalog.update_product, catalog.PRODUCT),
    _endpoint("POST /v1/prices", catalog.create_price, catalog.PRICE_CREATED),
    _endpoint("GET /v1/prices", catalog.list_prices, catalog.PRICES_LISTED),
    _endpoint("GET /v1/prices/{}", catalog.retrieve_price),
    _endpoint("POST /v1/prices/{}", catalog.update_price, catalog.PRICE_UPDATED),
    _endpoint("POST /v1/customers/{}/tax_ids", tax_ids.create, tax_ids.CREATED),
    _endpoint("GET /v1/customers/{}/tax_ids", tax_ids.listed, tax_ids.LISTED),
    _endpoint("DELETE /v1/customers/{}/tax_ids/{}", tax_ids.delete),
    _endpoint("GET /v1/tax/settings", tax_settings.retrieve),
    _endpoint("POST /v1/tax/calculations", tax_calculations.create, tax_calculations.CREATED),
    _endpoint("GET /v1/tax/calculations/{}", tax_calculations.retrieve),
    _endpoint(
        "POST /v1/tax/transactions/create_from_calculation",
        tax_transactions.create_from_calculation,
        tax_transactions.FROM_CALCULATION,
    ),
    _endpoint(
        "POST /v1/tax/transactions/create_reversal", tax_transactions.create_reversal, tax_transactions.REVERSAL
    ),
    _endpoint("GET /v1/tax/transactions/{}", tax_transactions.retrieve),
    _endpoint("GET /v1/tax/transactions/{}/line_items", tax_transactions.line_items, UNDATED),
    _endpoint("POST /v1/tax_rates", tax_rates.create, tax_rates.CREATED),
    _endpoint("GET /v1/tax_rates", tax_rates.listed, tax_rates.LISTED),
    _endpoint("GET /v1/tax_rates/{}", tax_rates.retrieve),
    _endpoint("POST /v1/checkout/sessions", checkout.create, checkout.CREATED),
    _endpoint("GET /v1/checkout/sessions", checkout.listed, checkout.LISTED),
    _endpoint("GET /v1/checkout/sessions/{}", checkout.retrieve),
    _endpoint("GET /v1/checkout/sessions/{}/line_items", checkout.line_items, UNDATED),
    _endpoint("POST /v1/checkout/sessions/{}/expire", checkout.expire),
    _endpoint("POST /v1/payment_intents", payment_intents.create, payment_intents.CREATED),
    _endpoint("GET /v1/payment_intents", payment_intents.listed, payment_intents.LISTED),
    _endpoint("GET /v1/payment_intents/{}", payment_intents.retrieve),
    _endpoint("POST /v1/payment_intents/{}/confirm", payment_intents.confirm, payment_intents.CONFIRMED),
    _endpoint("POST /v1/payment_intents/{}/cancel", payment_intents.cancel, payment_intents.CANCELED),
    _endpoint("GET /v1/setup_intents", setup_intents.listed, setup_intents.LISTED),
    _endpoint("GET /v1/setup_intents/{}", setup_intents.retrieve),
    _endpoint("GET /v1/payment_methods", payment_methods.listed, payment_methods.LISTED),
    _endpoint("GET /v1/payment_methods/{}", payment_methods.retrieve),
    _endpoint("POST /v1/payment_methods/{}/attach", payment_methods.attach, payment_methods.ATTACHED),
    _endpoint("POST /v1/payment_methods/{}/detach", payment_methods.detach),
    _endpoint("GET /v1/charges", charges.listed, charges.LISTED),
    _endpoint("GET /v1/charges/{}", charges.retrieve),
    _endpoint("POST /v1/refunds", refunds.create, refunds.CREATED),
    _endpoint("GET /v1/refunds", refunds.listed, refunds.LISTED),
    _endpoint("GET /v1/refunds/{}", refunds.retrieve),
    _endpoint("POST /v1/refunds/{}", refunds.update, refunds.UPDATED),
    _endpoint("GET /v1/disputes", disputes.listed, disputes.LISTED),
    _endpoint("GET /v1/disputes/{}", disputes.retrieve),
    _endpoint("POST /v1/subscriptions", subscriptions.create, subscriptions.CREATED),
    _endpoint("GET /v1/subscriptions", subscriptions.listed, subscriptions.LISTED),
    _endpoint("GET /v1/subscriptions/{}", subscriptions.retrieve),
    _endpoint("POST /v1/subscriptions/{}", subscription_updates.update, subscription_updates.UPDATED),
    _endpoint("DELETE /v1/subscriptions/{}", subscriptions.cancel, subscriptions.CANCELED),
    _endpoint("POST /v1/invoices/create_preview", invoices.create_preview, invoices.PREVIEWED),
    _endpoint("POST /v1/invoices", invoices.create, invoices.CREATED),
    _endpoint("GET /v1/invoices", invoices.listed, invoices.LISTED),
    _endpoint("GET /v1/invoices/{}", invoices.retrieve),
    _endpoint("POST /v1/invoices/{}/finalize", invoices.finalize_now, invoices.FINALIZED),
    _endpoint("POST /v1/invoices/{}/pay", invoices.pay_now, invoices.PAID),
    _endpoint("POST /v1/invoices/{}/void", invoices.void_now),
    _endpoint("GET /v1/invoice_payments", invoices.list_payments, invoices.PAYMENTS_LISTED),
    _endpoint("GET /v1/invoice_payments/{}", invoices.retrieve_payment),
    _endpoint("POST /v1/invoiceitems", invoice_items.create, invoice_items.CREATED),
    _endpoint("GET /v1/invoiceitems", invoice_items.listed, invoice_items.LISTED),
    _endpoint("GET /v1/invoiceitems/{}", invoice_items.retrieve),
    _endpoint("GET /v1/balance_transactions", balance.listed, balance.LISTED),
    _endpoint("GET /v1/balance_transactions/{}", balance.retrieve),
    _endpoint("GET /v1/payouts", balance.list_payouts, balance.PAYOUTS_LISTED),
    _endpoint("GET /v1/payouts/{}", balance.retrieve_payout),
    _endpoint("POST /v1/test_helpers/test_clocks", test_clocks.create, test_clocks.CREATED),
    _endpoint("GET /v1/test_helpers/test_clocks/{}", test_clocks.retrieve),
    _endpoint("POST /v1/test_helpers/test_clocks/{}/advance", test_clocks.advance, test_clocks.ADVANCED),
    _endpoint("DELETE /v1/test_helpers/test_clocks/{}", test_clocks.delete),
    _endpoint("GET /v1/events", events.listed, events.LISTED),
    _endpoint("GET /v1/events/{}", events.retrieve),
)
_BY_METHOD: dict[tuple[str, int], list[Endpoint]] = {}
for _one in ENDPOINTS:
    _BY_METHOD.setdefault((_one.method, len(_one.path)), []).append(_one)


def found(method: str, path: str) -> tuple[Endpoint, list[str]] | None:
    """The endpoint, and the ids in the path."""
    parts = path.strip("/").split("/")
    for endpoint in _BY_METHOD.get((method, len(parts)), ()):
        names = endpoint.names(parts)
        if names is not None:
            return endpoint, names
    return None
