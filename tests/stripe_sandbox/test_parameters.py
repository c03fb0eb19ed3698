"""Whatever the sandbox takes, the SDK knows of that very request: what Stripe would refuse must not work here."""

from __future__ import annotations

import importlib
import re
from typing import Any

import pytest

from appliance.stripe_sandbox.endpoints import ENDPOINTS, Endpoint
from appliance.stripe_sandbox.params import Group, Many, Need, OneOf, Schema

PARAMS = {
    "GET /v1/webhook_endpoints": "_webhook_endpoint_list_params.WebhookEndpointListParams",
    "POST /v1/customers": "_customer_create_params.CustomerCreateParams",
    "GET /v1/customers": "_customer_list_params.CustomerListParams",
    "POST /v1/customers/{}": "_customer_update_params.CustomerUpdateParams",
    "GET /v1/customers/{}/payment_methods": "_customer_payment_method_list_params.CustomerPaymentMethodListParams",
    "POST /v1/products": "_product_create_params.ProductCreateParams",
    "GET /v1/products": "_product_list_params.ProductListParams",
    "POST /v1/products/{}": "_product_update_params.ProductUpdateParams",
    "POST /v1/prices": "_price_create_params.PriceCreateParams",
    "GET /v1/prices": "_price_list_params.PriceListParams",
    "POST /v1/prices/{}": "_price_update_params.PriceUpdateParams",
    "POST /v1/customers/{}/tax_ids": "_customer_tax_id_create_params.CustomerTaxIdCreateParams",
    "GET /v1/customers/{}/tax_ids": "_customer_tax_id_list_params.CustomerTaxIdListParams",
    "POST /v1/tax/calculations": "tax._calculation_create_params.CalculationCreateParams",
    "POST /v1/tax/transactions/create_from_calculation": (
        "tax._transaction_create_from_calculation_params.TransactionCreateFromCalculationParams"
    ),
    "POST /v1/tax/transactions/create_reversal": (
        "tax._transaction_create_reversal_params.TransactionCreateReversalParams"
    ),
    "GET /v1/tax/transactions/{}/line_items": (
        "tax._transaction_line_item_list_params.TransactionLineItemListParams"
    ),
    "POST /v1/tax_rates": "_tax_rate_create_params.TaxRateCreateParams",
    "GET /v1/tax_rates": "_tax_rate_list_params.TaxRateListParams",
    "POST /v1/checkout/sessions": "checkout._session_create_params.SessionCreateParams",
    "GET /v1/checkout/sessions": "checkout._session_list_params.SessionListParams",
    "GET /v1/checkout/sessions/{}/line_items": (
        "checkout._session_line_item_list_params.SessionLineItemListParams"
    ),
    "POST /v1/payment_intents": "_payment_intent_create_params.PaymentIntentCreateParams",
    "GET /v1/payment_intents": "_payment_intent_list_params.PaymentIntentListParams",
    "POST /v1/payment_intents/{}/confirm": "_payment_intent_confirm_params.PaymentIntentConfirmParams",
    "POST /v1/payment_intents/{}/cancel": "_payment_intent_cancel_params.PaymentIntentCancelParams",
    "GET /v1/setup_intents": "_setup_intent_list_params.SetupIntentListParams",
    "GET /v1/payment_methods": "_payment_method_list_params.PaymentMethodListParams",
    "POST /v1/payment_methods/{}/attach": "_payment_method_attach_params.PaymentMethodAttachParams",
    "GET /v1/charges": "_charge_list_params.ChargeListParams",
    "POST /v1/refunds": "_refund_create_params.RefundCreateParams",
    "GET /v1/refunds": "_refund_list_params.RefundListParams",
    "POST /v1/refunds/{}": "_refund_update_params.RefundUpdateParams",
    "GET /v1/disputes": "_dispute_list_params.DisputeListParams",
    "POST /v1/subscriptions": "_subscription_create_params.SubscriptionCreateParams",
    "GET /v1/subscriptions": "_subscription_list_params.SubscriptionListParams",
    "POST /v1/subscriptions/{}": "_subscription_update_params.SubscriptionUpdateParams",
    "DELETE /v1/subscriptions/{}": "_subscription_cancel_params.SubscriptionCancelParams",
    "POST /v1/invoices/create_preview": "_invoice_create_preview_params.InvoiceCreatePreviewParams",
    "POST /v1/invoices": "_invoice_create_params.InvoiceCreateParams",
    "GET /v1/invoices": "_invoice_list_params.InvoiceListParams",
    "POST /v1/invoices/{}/finalize": "_invoice_finalize_invoice_params.InvoiceFinalizeInvoiceParams",
    "POST /v1/invoices/{}/pay": "_invoice_pay_params.InvoicePayParams",
    "GET /v1/invoice_payments": "_invoice_payment_list_params.InvoicePaymentListParams",
    "POST /v1/invoiceitems": "_invoice_item_create_params.InvoiceItemCreateParams",
    "GET /v1/invoiceitems": "_invoice_item_list_params.InvoiceItemListParams",
    "GET /v1/balance_transactions": "_balance_transaction_list_params.BalanceTransactionListParams",
    "GET /v1/payouts": "_payout_list_params.PayoutListParams",
    "POST /v1/test_helpers/test_clocks": "test_helpers._test_clock_create_params.TestClockCreateParams",
    "POST /v1/test_helpers/test_clocks/{}/advance": (
        "test_helpers._test_clock_advance_params.TestClockAdvanceParams"
    ),
    "GET /v1/events": "_event_list_params.EventListParams",
}


def name_of(endpoint: Endpoint) -> str:
    return f"{endpoint.method} /{'/'.join(endpoint.path)}"


@pytest.mark.parametrize("endpoint", [one for one in ENDPOINTS if set(one.schema) != {"expand"}], ids=name_of)
def test_stripe_takes_it_too(endpoint: Endpoint) -> None:
    module, kind = PARAMS[name_of(endpoint)].rsplit(".", 1)
    there = importlib.import_module(f"stripe.params.{module}")
    assert unknown(endpoint.schema, getattr(there, kind), there, "") == []


def unknown(schema: Schema, kind: type, module: Any, where: str) -> list[str]:
    hints = kind.__annotations__
    found = [where + name for name in schema if name not in hints]
    for name, how in schema.items():
        inner = how.reader if isinstance(how, Need) else how
        inner = inner.reader if isinstance(inner, Many) else inner
        if isinstance(inner, OneOf) and "Literal" in str(hints.get(name)):
            found += [f"{where}{name}={one}" for one in inner.choices if f"'{one}'" not in str(hints[name])]
        if isinstance(inner, Group) and name in hints:
            named = [one for one in re.findall(r"\w+Params\w+", str(hints[name])) if hasattr(module, one)]
            assert named, f"{where}{name} is no object at Stripe"
            found += unknown(inner.schema, getattr(module, named[0]), module, f"{where}{name}.")
    return found
