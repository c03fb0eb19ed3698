"""The adapter to Stripe: the only file that knows its library, with its API's version pinned."""

import contextlib
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar, cast
from uuid import UUID

import stripe

from billing.clock import Clock
from billing.payments.provider import (
    CURRENCY,
    BadSignature,
    Card,
    CheckoutSeen,
    CheckoutStatus,
    Declined,
    DisputeSeen,
    EventSeen,
    Gone,
    IntentSeen,
    InvoiceSeen,
    KeyRefused,
    MovementSeen,
    PaymentsRefused,
    PaymentsUnavailable,
    PreviewSeen,
    RefundSeen,
    RightsMissing,
    StripeAccount,
    SubscriptionSeen,
    WebhookSeen,
)

API_VERSION = "2026-10-28.endive"
assert stripe.api_version == API_VERSION, "the library and the pinned version of the API have parted"
stripe.enable_telemetry = False
logging.getLogger("stripe").setLevel(logging.WARNING)

TIMEOUT_SECONDS = 20.0
RETRIES = 2
PAGE = 100
MESSAGE_CHARACTERS = 200
TOLERANCE = timedelta(seconds=300)
OURS = "reference"
"""The metadata in which Stripe keeps our id."""
CHANGES, CHANGES_TO = "changes_subscription", "changes_to_price"
"""The metadata in which an invoice keeps which subscription is to change, and to what."""

_REPEATED = re.compile(r"\S+@\S+|'[^']*'|\"[^\"]*\"")
_RIGHT = re.compile(r"'rak_[a-z_]{1,60}'")

Result = TypeVar("Result")
Seen = Mapping[str, Any]
EXPANDED_INTENT: list[str] = ["latest_charge"]
EXPANDED_INVOICE: list[str] = ["payments"]


class StripeProvider:
    """``billing.payments.provider.Provider`` by Stripe, or by the sandbox at ``base``. ``close`` it in the end."""

    def __init__(
        self,
        key: str,
        webhook_secret: str,
        clock: Clock,
        *,
        base: str | None = None,
        http: stripe.HTTPClient | None = None,
    ) -> None:
        self._http = http or stripe.HTTPXClient(timeout=TIMEOUT_SECONDS)
        self._client = stripe.StripeClient(
            key,
            stripe_version=API_VERSION,
            http_client=self._http,
            max_network_retries=RETRIES,
            base_addresses={} if base is None else {"api": base},
        )
        self._v1 = self._client.v1
        self._closed: Callable[[], Awaitable[None]] = self._http.close_async
        self._webhook_secret = webhook_secret
        self._clock = clock
        self._live = key.startswith(("sk_live_", "rk_live_"))

    async def close(self) -> None:
        await self._closed()

    async def account(self) -> StripeAccount:
        found = await _asked(self._v1.accounts.retrieve_current_async())
        answer = found.last_response
        date = None if answer is None else answer.headers.get("date")
        seen = _seen(found)
        clock = self._clock() if date is None else parsedate_to_datetime(date)
        return StripeAccount(
            seen["id"], seen.get("country") or "", seen.get("default_currency") or "", self._live, clock
        )

    async def create_customer(self, account_id: int, email: str, name: str, key: str) -> str:
        made = self._v1.customers.create_async(
            {"email": email, "name": name, "metadata": {"account": str(account_id)}}, {"idempotency_key": key}
        )
        return (await _asked(made)).id

    async def delete_customer(self, customer: str) -> None:
        with contextlib.suppress(Gone):
            await _asked(self._v1.customers.delete_async(customer))

    async def sell(
        self, *, customer: str, cents: int, what: str, reference: UUID, save_card: bool, back: str, key: str
    ) -> CheckoutSeen:
        intent: dict[str, Any] = {"metadata": {OURS: str(reference)}, "description": what}
        if save_card:
            intent["setup_future_usage"] = "off_session"
        item = {
            "price_data": {"currency": CURRENCY, "unit_amount": cents, "product_data": {"name": what}},
            "quantity": 1,
        }
        return await self._open_page(
            customer, reference, back, key, mode="payment", line_items=[item], payment_intent_data=intent
        )

    async def subscribe(self, *, customer: str, price: str, reference: UUID, back: str, key: str) -> CheckoutSeen:
        return await self._open_page(
            customer,
            reference,
            back,
            key,
            mode="subscription",
            line_items=[{"price": price, "quantity": 1}],
            subscription_data={"metadata": {OURS: str(reference)}},
        )

    async def save_card(self, *, customer: str, reference: UUID, back: str, key: str) -> CheckoutSeen:
        return await self._open_page(
            customer,
            reference,
            back,
            key,
            mode="setup",
            currency=CURRENCY,
            setup_intent_data={"metadata": {OURS: str(reference)}},
        )

    async def _open_page(
        self, customer: str, reference: UUID, back: str, key: str, **of_mode: Any
    ) -> CheckoutSeen:
        asked = {
            "customer": customer,
            "client_reference_id": str(reference),
            "metadata": {OURS: str(reference)},
            "allowed_payment_method_types": ["card"],
            "success_url": back,
            "cancel_url": back,
        }
        made = self._v1.checkout.sessions.create_async(cast("Any", asked | of_mode), {"idempotency_key": key})
        return _checkout(_seen(await _asked(made)))

    async def checkout(self, id_: str) -> CheckoutSeen:
        return _checkout(_seen(await _asked(self._v1.checkout.sessions.retrieve_async(id_))))

    async def expire_checkout(self, id_: str) -> None:
        try:
            await _asked(self._v1.checkout.sessions.expire_async(id_))
        except PaymentsRefused:
            if (await self.checkout(id_)).status is CheckoutStatus.OPEN:
                raise

    async def charge(
        self, *, customer: str, card: str, cents: int, what: str, reference: UUID, key: str
    ) -> IntentSeen:
        made = self._v1.payment_intents.create_async(
            {
                "amount": cents,
                "currency": CURRENCY,
                "customer": customer,
                "payment_method": card,
                "allowed_payment_method_types": ["card"],
                "off_session": True,
                "confirm": True,
                "description": what,
                "metadata": {OURS: str(reference)},
                "expand": EXPANDED_INTENT,
            },
            {"idempotency_key": key},
        )
        return _intent(_seen(await _asked(made)))

    async def intent(self, id_: str) -> IntentSeen:
        found = self._v1.payment_intents.retrieve_async(id_, {"expand": EXPANDED_INTENT})
        return _intent(_seen(await _asked(found)))

    async def intent_of(self, reference: UUID, customer: str) -> IntentSeen | None:
        listed = self._v1.payment_intents.list_async({"customer": customer, "limit": PAGE})
        async for page in _pages(await _asked(listed)):
            for seen in page:
                if _reference(seen) == reference:
                    return await self.intent(seen["id"])
        return None

    async def cards(self, customer: str) -> Sequence[Card]:
        listed = self._v1.customers.payment_methods.list_async(customer, {"type": "card", "limit": PAGE})
        return [_card(seen) async for page in _pages(await _asked(listed)) for seen in page]

    async def forget_card(self, card: str) -> None:
        try:
            await _asked(self._v1.payment_methods.detach_async(card))
        except Gone:
            pass
        except PaymentsRefused:
            found = _seen(await _asked(self._v1.payment_methods.retrieve_async(card)))
            if found.get("customer") is not None:
                raise

    async def refund(self, *, intent: str, cents: int, reference: UUID, key: str) -> RefundSeen:
        made = self._v1.refunds.create_async(
            {
                "payment_intent": intent,
                "amount": cents,
                "reason": "requested_by_customer",
                "metadata": {OURS: str(reference)},
            },
            {"idempotency_key": key},
        )
        return _refund(_seen(await _asked(made)))

    async def refund_seen(self, id_: str) -> RefundSeen:
        return _refund(_seen(await _asked(self._v1.refunds.retrieve_async(id_))))

    async def refunds_of(self, intent: str) -> Sequence[RefundSeen]:
        listed = self._v1.refunds.list_async({"payment_intent": intent, "limit": PAGE})
        return [_refund(seen) async for page in _pages(await _asked(listed)) for seen in page]

    async def dispute(self, id_: str) -> DisputeSeen:
        return _dispute(_seen(await _asked(self._v1.disputes.retrieve_async(id_))))

    async def price_for(self, version_id: int, name: str, cents: int) -> str:
        lookup = f"plan-version-{version_id}-{cents}"
        listed = await _asked(self._v1.prices.list_async({"lookup_keys": [lookup], "limit": 1}))
        if listed.data:
            return listed.data[0].id
        made = self._v1.prices.create_async(
            {
                "currency": CURRENCY,
                "unit_amount": cents,
                "recurring": {"interval": "month"},
                "product_data": {"name": name},
                "lookup_key": lookup,
                "tax_behavior": "inclusive",
            },
            {"idempotency_key": lookup},
        )
        return (await _asked(made)).id

    async def subscription(self, id_: str) -> SubscriptionSeen:
        return _subscription(_seen(await _asked(self._v1.subscriptions.retrieve_async(id_))))

    async def preview_change(self, subscription: str, item: str, price: str, at: datetime) -> PreviewSeen:
        preview = self._v1.invoices.create_preview_async(
            {
                "subscription": subscription,
                "subscription_details": {
                    "items": [{"id": item, "price": price}],
                    "proration_behavior": "always_invoice",
                    "proration_date": int(at.timestamp()),
                },
            }
        )
        seen = _seen(await _asked(preview))
        return PreviewSeen(seen["amount_due"], at)

    async def change_now(
        self, subscription: str, item: str, price: str, *, at: datetime, prorated: bool, key: str
    ) -> InvoiceSeen | None:
        asked: dict[str, Any] = {
            "items": [{"id": item, "price": price}],
            "proration_behavior": "always_invoice" if prorated else "none",
            "payment_behavior": "error_if_incomplete",
            "expand": ["latest_invoice"],
        }
        if prorated:
            asked["proration_date"] = int(at.timestamp())
        changed = self._v1.subscriptions.update_async(subscription, cast("Any", asked), {"idempotency_key": key})
        latest = _seen(await _asked(changed)).get("latest_invoice")
        return await self.invoice(_id(latest) or "") if prorated and latest else None

    async def charge_difference(
        self, subscription: str, cents: int, what: str, *, price: str, key: str
    ) -> InvoiceSeen:
        """The invoice is not the subscription's own: one that is declined would make it past due."""
        raw = _seen(await _asked(self._v1.subscriptions.retrieve_async(subscription)))
        changed, card = _subscription(raw), _id(raw.get("default_payment_method"))
        customer = changed.customer
        await self._void_differences(subscription, customer)
        asked: dict[str, Any] = {
            "customer": customer,
            "collection_method": "charge_automatically",
            "auto_advance": False,
            "pending_invoice_items_behavior": "exclude",
            "metadata": {CHANGES: subscription, CHANGES_TO: price},
        }
        if card is not None:
            asked["default_payment_method"] = card
        made = self._v1.invoices.create_async(cast("Any", asked), {"idempotency_key": key})
        invoice = (await _asked(made)).id
        line = self._v1.invoice_items.create_async(
            {
                "customer": customer,
                "invoice": invoice,
                "amount": cents,
                "currency": CURRENCY,
                "description": what,
                "period": {
                    "start": int(changed.period_start.timestamp()),
                    "end": int(changed.period_end.timestamp()),
                },
            },
            {"idempotency_key": f"{key}-line"},
        )
        await _asked(line)
        seen = await self.invoice(invoice)
        if seen.status == "draft":
            finalized = self._v1.invoices.finalize_invoice_async(
                invoice, {"auto_advance": False}, {"idempotency_key": f"{key}-final"}
            )
            await _asked(finalized)
            seen = await self.invoice(invoice)
        if seen.status == "open":
            try:
                pay = self._v1.invoices.pay_async(
                    invoice, {"off_session": True}, {"idempotency_key": f"{key}-pay"}
                )
                await _asked(pay)
            except Declined:
                await _asked(
                    self._v1.invoices.void_invoice_async(invoice, None, {"idempotency_key": f"{key}-void"})
                )
                raise
        return await self.invoice(invoice)

    async def _void_differences(self, subscription: str, customer: str) -> None:
        """Those of tries that came to no end: paid later, they would buy nothing."""
        listed = self._v1.invoices.list_async({"customer": customer, "status": "open", "limit": PAGE})
        async for page in _pages(await _asked(listed)):
            for one in page:
                if (one.get("metadata") or {}).get(CHANGES) == subscription:
                    voided = self._v1.invoices.void_invoice_async(
                        one["id"], None, {"idempotency_key": f"void {one['id']}"}
                    )
                    await _asked(voided)

    async def collect(self, invoice: str, *, key: str) -> InvoiceSeen:
        seen = await self.invoice(invoice)
        if seen.status != "draft":
            return seen
        try:
            final = self._v1.invoices.finalize_invoice_async(invoice, None, {"idempotency_key": f"{key}-final"})
            await _asked(final)
            pay = self._v1.invoices.pay_async(invoice, {"off_session": True}, {"idempotency_key": f"{key}-pay"})
            await _asked(pay)
        except (Declined, PaymentsRefused):  # what became of it, the invoice says: Stripe may have been quicker
            pass
        return await self.invoice(invoice)

    async def set_price(self, subscription: str, item: str, price: str, *, key: str) -> None:
        changed = self._v1.subscriptions.update_async(
            subscription,
            {"items": [{"id": item, "price": price}], "proration_behavior": "none"},
            {"idempotency_key": key},
        )
        await _asked(changed)

    async def set_cancels(self, subscription: str, cancels: bool, *, key: str) -> None:
        changed = self._v1.subscriptions.update_async(
            subscription, {"cancel_at_period_end": cancels}, {"idempotency_key": key}
        )
        await _asked(changed)

    async def end_subscription(self, subscription: str, *, key: str) -> None:
        try:
            seen = await self.subscription(subscription)
            if seen.status not in ("canceled", "incomplete_expired"):
                ended = self._v1.subscriptions.cancel_async(
                    subscription, {"invoice_now": False, "prorate": False}, {"idempotency_key": key}
                )
                await _asked(ended)
        except Gone:
            return
        listed = self._v1.invoices.list_async({"subscription": subscription, "status": "open", "limit": PAGE})
        async for page in _pages(await _asked(listed)):
            for one in page:
                voided = self._v1.invoices.void_invoice_async(
                    one["id"], None, {"idempotency_key": f"{key}-{one['id']}"}
                )
                await _asked(voided)

    async def invoice(self, id_: str) -> InvoiceSeen:
        found = self._v1.invoices.retrieve_async(id_, {"expand": EXPANDED_INVOICE})
        return _invoice(_seen(await _asked(found)))

    async def events(self, since: datetime) -> AsyncIterator[Sequence[EventSeen]]:
        listed = self._v1.events.list_async({"created": {"gte": int(since.timestamp())}, "limit": PAGE})
        async for page in _pages(await _asked(listed)):
            yield [_event(seen) for seen in page]

    async def movements(self, since: datetime) -> AsyncIterator[Sequence[MovementSeen]]:
        listed = self._v1.balance_transactions.list_async(
            {"created": {"gte": int(since.timestamp())}, "limit": PAGE, "expand": ["data.source"]}
        )
        async for page in _pages(await _asked(listed)):
            yield [_movement(seen) for seen in page]

    async def webhooks(self) -> Sequence[WebhookSeen]:
        found = []
        async for page in _pages(await _asked(self._v1.webhook_endpoints.list_async({"limit": PAGE}))):
            found += [WebhookSeen(one["url"], one["status"] == "enabled", one["enabled_events"]) for one in page]
        return found

    def read_webhook(self, body: bytes, signature: str, now: datetime) -> EventSeen:
        """By ``now`` rather than by the library's own clock, and nothing from the future either."""
        try:
            stripe.WebhookSignature.verify_header(body, signature, self._webhook_secret)
            stamps = [part[2:] for part in signature.split(",") if part.startswith("t=")]
            if abs(now.timestamp() - int(stamps[0])) > TOLERANCE.total_seconds():
                raise BadSignature("it was signed too long ago")
            event = self._client.construct_event_without_verification(body)
            return _event(_seen(event))
        except stripe.SignatureVerificationError:
            raise BadSignature("it is not signed with our secret") from None
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            raise BadSignature("it is no event") from None


async def _asked(call: Awaitable[Result]) -> Result:
    """The answer, or one of the port's errors. Nothing of a customer is in their messages but Stripe's ids."""
    try:
        return await call
    except stripe.CardError as error:
        seen = error.error
        code = (None if seen is None else getattr(seen, "decline_code", None)) or error.code or "declined"
        raise Declined("authentication_required" if error.code == "authentication_required" else code) from None
    except (stripe.APIConnectionError, stripe.RateLimitError):
        raise PaymentsUnavailable("Stripe cannot be reached") from None
    except stripe.AuthenticationError:
        raise KeyRefused("Stripe does not accept the key") from None
    except stripe.PermissionError as error:
        message = error.user_message or "the key has no right to this"
        raise RightsMissing(f"Stripe: {without_persons(message)}") from None
    except stripe.StripeError as error:
        status = error.http_status or 0
        if status >= 500 or status == 409:
            raise PaymentsUnavailable(f"Stripe answers {status}") from None
        if error.code == "resource_missing":
            raise Gone("Stripe has no such object") from None
        message = error.user_message or error.code or str(status)
        raise PaymentsRefused(f"Stripe: {without_persons(message)}") from None


def without_persons(message: str) -> str:
    """Some of Stripe's messages repeat what they refuse. The name of a right is kept."""
    return _REPEATED.sub(lambda found: found[0] if _RIGHT.fullmatch(found[0]) else "…", message)[
        :MESSAGE_CHARACTERS
    ]


async def _pages(first: Any) -> AsyncIterator[Sequence[Seen]]:
    page = first
    while page.data:
        yield [_seen(one) for one in page.data]
        if not page.has_more:
            return
        page = await _asked(page.next_page_async())


def _seen(found: Any) -> Seen:
    """A plain document, whatever classes the library has for it."""
    return cast("Seen", found.to_dict())


def _id(found: Any) -> str | None:
    """Of an object that stands there as a whole, or by its id."""
    if found is None or isinstance(found, str):
        return found
    return cast("str", found["id"])


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _moment_if(seconds: int | None) -> datetime | None:
    return None if seconds is None else _moment(seconds)


def _uuid(text: str | None) -> UUID | None:
    try:
        return None if text is None else UUID(text)
    except ValueError:
        return None


def _reference(seen: Seen) -> UUID | None:
    return _uuid((seen.get("metadata") or {}).get(OURS))


def _checkout(seen: Seen) -> CheckoutSeen:
    return CheckoutSeen(
        seen["id"],
        CheckoutStatus(seen["status"]),
        seen["payment_status"] == "paid",
        seen.get("amount_total") or 0,
        seen.get("currency") or CURRENCY,
        _uuid(seen.get("client_reference_id")),
        seen.get("url"),
        _id(seen.get("customer")),
        _id(seen.get("payment_intent")),
        _id(seen.get("subscription")),
        _id(seen.get("setup_intent")),
    )


def _intent(seen: Seen) -> IntentSeen:
    charge = seen.get("latest_charge")
    paid_at = _moment(charge["created"]) if isinstance(charge, dict) and charge.get("paid") else None
    failure = seen.get("last_payment_error") or {}
    return IntentSeen(
        seen["id"],
        seen["status"],
        seen.get("amount_received") or 0,
        seen["currency"],
        _reference(seen),
        _id(seen.get("customer")),
        _id(seen.get("payment_method")),
        failure.get("decline_code") or failure.get("code"),
        paid_at,
    )


def _card(seen: Seen) -> Card:
    card = seen["card"]
    return Card(seen["id"], f"{card.get('brand') or 'card'} •••• {card.get('last4') or ''}")


def _refund(seen: Seen) -> RefundSeen:
    return RefundSeen(
        seen["id"],
        seen.get("status") or "pending",
        seen["amount"],
        _id(seen.get("payment_intent")),
        _reference(seen),
        seen.get("failure_reason"),
    )


def _dispute(seen: Seen) -> DisputeSeen:
    due = (seen.get("evidence_details") or {}).get("due_by")
    return DisputeSeen(
        seen["id"],
        seen["status"],
        seen["amount"],
        _id(seen.get("payment_intent")),
        seen.get("reason") or "general",
        _moment(seen["created"]),
        _moment_if(due),
    )


def _subscription(seen: Seen) -> SubscriptionSeen:
    """The period is its item's: since 2025 a subscription has none of its own."""
    (item, *_) = seen["items"]["data"]
    return SubscriptionSeen(
        seen["id"],
        seen["status"],
        _id(seen["customer"]) or "",
        item["id"],
        _id(item["price"]) or "",
        _moment(item["current_period_start"]),
        _moment(item["current_period_end"]),
        bool(seen.get("cancel_at_period_end")) or seen.get("cancel_at") is not None,
        _reference(seen),
        _id(seen.get("latest_invoice")),
    )


def _invoice(seen: Seen) -> InvoiceSeen:
    """Its subscription is its parent, and its intents are in its payments.

    Of the lines of one period, the dearest is what was bought; what is taken back of the plan before is negative.
    """
    details = (seen.get("parent") or {}).get("subscription_details") or {}
    paying = [one["payment"].get("payment_intent") for one in (seen.get("payments") or {}).get("data", ())]
    lines = (seen.get("lines") or {}).get("data", ())
    newest = max(
        lines, key=lambda one: (one["period"]["end"], one["period"]["start"], one["amount"]), default=None
    )
    period = {"start": seen["period_start"], "end": seen["period_end"]} if newest is None else newest["period"]
    kept = seen.get("metadata") or {}
    priced = {} if newest is None else (newest.get("pricing") or {}).get("price_details") or {}
    return InvoiceSeen(
        seen["id"],
        seen.get("status") or "draft",
        seen.get("billing_reason") or "manual",
        seen["total"],
        seen.get("amount_paid") or 0,
        seen["currency"],
        _id(seen.get("customer")),
        _id(details.get("subscription")) or kept.get(CHANGES),
        kept.get(CHANGES_TO) or _id(priced.get("price")),
        next((_id(one) for one in paying if one is not None), None),
        _moment(period["start"]),
        _moment(period["end"]),
        _moment_if((seen.get("status_transitions") or {}).get("paid_at")),
        seen.get("hosted_invoice_url"),
    )


def _event(seen: Seen) -> EventSeen:
    return EventSeen(seen["id"], seen["type"], seen["data"]["object"].get("id") or "", _moment(seen["created"]))


def _movement(seen: Seen) -> MovementSeen:
    source = seen.get("source")
    intent = source.get("payment_intent") if isinstance(source, dict) else None
    return MovementSeen(
        seen["id"], seen["type"], _id(source), _id(intent), seen["amount"], seen["fee"], _moment(seen["created"])
    )
