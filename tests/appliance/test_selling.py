"""What the doctor says of payments, and what keeps a system from starting."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from appliance.doctor import asking
from appliance.doctor.selling import Selling, doubts_about, examine_selling, zero_rated
from appliance.settings import SettingsError, load_settings
from appliance.stripe_sandbox.core import Sandbox
from appliance.stripe_sandbox.tax_settings import PENDING
from billing.database.db import execute
from billing.documents.vat import VatRule
from billing.ids import new_id
from billing.payments.inbox import mark
from billing.payments.provider import (
    KeyRefused,
    PaymentsUnavailable,
    RightsMissing,
    StripeAccount,
    WebhookSeen,
)
from billing.payments.stripe.adapter import StripeProvider
from tests.billing.conftest import Bank, bank
from tests.stripe_sandbox.inprocess import KEY, SECRET, InProcessClient, settings

__all__ = ["bank"]
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
URL = "https://example.com/stripe/webhook"
LIVE = Selling(
    "live",
    site_address="https://example.com",
    asked="answered",
    country="NO",
    currency="usd",
    clock_off_seconds=1.0,
    webhook_url=URL,
    webhook="registered",
)
SELLER = """
site: {address: "https://example.com"}
seller: {name: Example AS, address: Storgata 1, postal_code: "0155", city: Oslo, number: 999 999 999}
"""
LIVE_KEY = {"STRIPE_API_KEY": "sk_live_1", "STRIPE_WEBHOOK_SECRET": "whsec_1"}
TAXED, UNTAXED = '{country: "*", taxed: true, code: "7"}', '{country: "*", taxed: false, code: "52"}'
REDUCED = '{country: "*", taxed: true, reason: reduced_rated, code: "52"}'


def with_codes(*rows: str) -> str:
    return SELLER + f"vat: {{by: stripe, codes: [{', '.join(rows)}]}}"


class Stripe:
    """Answers as Stripe would, or raises."""

    def __init__(
        self,
        clock: datetime,
        *webhooks: WebhookSeen,
        error: Exception | None = None,
        tax_error: Exception | None = None,
    ) -> None:
        self._clock = clock
        self._webhooks = webhooks
        self._error = error
        self._tax_error = tax_error

    async def account(self) -> StripeAccount:
        if self._error is not None:
            raise self._error
        return StripeAccount("acct_1", "NO", "usd", True, self._clock)

    async def tax_lacks(self) -> Sequence[str]:
        if self._tax_error is not None:
            raise self._tax_error
        return ()

    async def webhooks(self) -> Sequence[WebhookSeen]:
        return self._webhooks


class Dated(InProcessClient):
    """Its answers have Stripe's time on them, as those of a server have."""

    def request(self, *arguments: Any, **named: Any) -> tuple[Any, int, Mapping[str, str]]:
        body, status, headers = super().request(*arguments, **named)
        return body, status, {**headers, "date": format_datetime(NOW + timedelta(hours=1), usegmt=True)}


async def asked(stripe: Any) -> Selling:
    blank = replace(LIVE, asked=None, webhook=None, clock_off_seconds=None)
    return await asking.ask_stripe(blank, stripe, lambda: NOW)


def test_a_live_system_in_order_is_one_line_and_the_sandbox_says_that_it_takes_no_money() -> None:
    (line,) = examine_selling(LIVE)
    assert (line.verdict, line.found) == ("ok", "a live key of an account in NO")
    assert examine_selling(replace(LIVE, has_bank_account=False)) == [line], "nobody is sent an invoice"
    taxing = examine_selling(replace(LIVE, tax_by_stripe=True, tax_lacks=()))
    assert [(one.check, one.verdict) for one in taxing[1:]] == [("stripe tax", "ok")]
    (kroner,) = examine_selling(replace(LIVE, currency="nok"))
    assert (kroner.verdict, "keeps in NOK" in kroner.found) == ("ok", True)
    (sandbox,) = examine_selling(asking.known(load_settings({})))
    assert (sandbox.verdict, "no real money" in sandbox.found) == ("ok", True)


@pytest.mark.parametrize(
    ("changed", "check", "verdict", "found"),
    [
        ({"asked": "refused"}, "stripe", "fail", "does not accept the key"),
        ({"asked": "unreachable"}, "stripe", "warn", "cannot be reached"),
        ({"may_not_read": ("webhook endpoints",)}, "stripe", "fail", "may not read webhook endpoints"),
        ({"of_other_mode": 3}, "mode", "fail", "the key is of live mode, but 3 payments here are of test mode"),
        ({"mode": "test", "of_other_mode": 1}, "mode", "fail", "of test mode, but 1 payments here are of live"),
        ({"mode": "sandbox", "of_other_mode": 1}, "mode", "fail", "the sandbox is used, but 1 payments here"),
        ({"example_terms": True}, "mode", "fail", "under the example terms"),
        ({"mode": "test"}, "mode", "warn", "customers of https://example.com pay with test money"),
        ({"seller_lacks": ("seller.number",)}, "seller", "warn", "seller.number"),
        ({"has_bank_account": False, "has_postpaid": True}, "bank account", "warn", "where to pay by bank"),
        ({"vat_doubts": ("rule 2 never counts",)}, "vat", "warn", "rule 2 never counts"),
        (
            {"zero_rated": ("DE", "FR", "GB"), "consumers_of": ("FR", "NO", "DE", "US")},
            "consumers abroad",
            "warn",
            "consumers in DE, FR have bought at 0 %, by the row * of vat.rules: they owe you the tax of their own",
        ),
        (
            {"zero_rated": ("DE",), "anybody_joins": True},
            "consumers abroad",
            "warn",
            "consumers in the EU and the UK can buy at 0 %",
        ),
        ({"tax_by_stripe": True, "tax_lacks": ("head_office",)}, "stripe tax", "fail", "it lacks head_office"),
        ({"tax_by_stripe": True, "refused_buyers": (7, 9)}, "buyers", "warn", "tax number of accounts 7, 9"),
        ({"clock_off_seconds": -3660.0}, "clock", "fail", "61 minutes behind Stripe's"),
        ({"clock_off_seconds": 61.0}, "clock", "fail", "61 seconds ahead of Stripe's"),
        ({"webhook": "missing"}, "webhook", "warn", f"no webhook for {URL}"),
        ({"webhook": "disabled"}, "webhook", "warn", "is disabled"),
        ({"events_missing": ("invoice.paid",)}, "webhook", "warn", "lacks events: invoice.paid"),
        ({"webhooks_refused": True, "swept": 1}, "webhook", "fail", "not signed with STRIPE_WEBHOOK_SECRET"),
        ({"swept": 7}, "webhook", "warn", "the last 7 events did not come by webhook"),
    ],
)
def test_what_is_wrong_with_payments_is_said_in_a_sentence_with_what_to_do(
    changed: dict[str, Any], check: str, verdict: str, found: str
) -> None:
    (bad,) = [one for one in examine_selling(replace(LIVE, **changed)) if one.verdict != "ok"]
    assert (bad.check, bad.verdict) == (check, verdict)
    assert found in bad.found
    assert bad.advice


async def test_stripe_is_asked_for_its_clock_and_the_webhook() -> None:
    behind = await asked(Stripe(NOW + timedelta(hours=1), WebhookSeen(URL, True, ("*",))))
    assert (behind.clock_off_seconds, behind.webhook, behind.events_missing) == (-3600, "registered", ())
    other = await asked(Stripe(NOW, WebhookSeen("https://other.example/", True, ("*",))))
    assert (other.webhook, other.clock_off_seconds) == ("missing", 0)
    off = await asked(Stripe(NOW, WebhookSeen(URL, False, ("*",))))
    assert off.webhook == "disabled"
    few = await asked(Stripe(NOW, WebhookSeen(URL, True, tuple(asking.EVENTS[1:]))))
    assert (few.webhook, few.events_missing) == ("registered", asking.EVENTS[:1])


@pytest.mark.parametrize(
    ("error", "check"),
    [(KeyRefused("no"), "refused"), (PaymentsUnavailable("no"), "unreachable"), (RightsMissing("no"), "answered")],
)
async def test_what_stripe_refuses_is_told_apart(error: Exception, check: str) -> None:
    found = await asked(Stripe(NOW, error=error))
    assert found.asked == check
    assert examine_selling(found)[0].verdict != "ok"


@pytest.mark.parametrize(
    ("error", "may_not_read"), [(RightsMissing("no"), ("tax settings",)), (PaymentsUnavailable("no"), ())]
)
async def test_whatever_stripe_does_not_say_of_the_tax_its_webhook_is_looked_at(
    error: Exception, may_not_read: Sequence[str]
) -> None:
    provider: Any = Stripe(NOW, WebhookSeen(URL, False, ("*",)), tax_error=error)
    facts = Selling("live", webhook_url=URL, tax_by_stripe=True)
    found = await asking.ask_stripe(facts, provider, lambda: NOW)
    assert (found.may_not_read, found.webhook) == (may_not_read, "disabled")
    assert "stripe tax" not in [one.check for one in examine_selling(found)], "nobody knows whether it is active"


@pytest.mark.parametrize(("name", "lacks"), [("Example AS", True), ("Kari Nordmann", False), ("Atlas", False)])
def test_a_norwegian_company_says_in_which_register_it_is(name: str, lacks: bool) -> None:
    settings = load_settings({})
    seller = structs.replace(settings.seller, name=name)
    for register in ("", "Foretaksregisteret"):
        facts = asking.known(replace(settings, seller=structs.replace(seller, register=register)))
        assert ("seller.register" in facts.seller_lacks) == (lacks and not register)


async def test_payments_of_the_other_mode_and_events_that_no_webhook_brought_are_counted(bank: Bank) -> None:
    customer = await bank.customer(0)
    async with bank.database.begin() as connection:
        for number, checkout in enumerate(("cs_live_1", "cs_test_1", "cs_test_2")):
            await execute(
                connection,
                "INSERT INTO payment (id, account_id, kind, state, value_nanodollars, net_cents, vat_cents,"
                " gross_cents, vat_code, vat_basis_points, buyer, created_at, checkout)"
                " VALUES ($1, $2, 'credit', 'open', 1, 1, 0, 1, '3', 0, '{}', $3, $4)",
                new_id(bank.clock()), customer.account_id, bank.clock(), checkout,
            )  # fmt: skip
            await execute(
                connection,
                "INSERT INTO stripe_event (id, kind, object, came_by, created_at, received_at, due_at)"
                " VALUES ($1, 'invoice.paid', 'in_1', $2, $3, $3, $3)",
                f"evt_{number}", "sweep" if number else "webhook", bank.clock() + timedelta(minutes=number),
            )  # fmt: skip
        assert not (await asking.ask_database(LIVE, connection)).has_postpaid
        await execute(
            connection, "UPDATE account SET credit_limit_nanodollars = 1 WHERE id = $1", customer.account_id
        )
        live = await asking.ask_database(LIVE, connection)
        assert live.has_postpaid
        test = await asking.ask_database(replace(LIVE, mode="test"), connection)
        assert (live.of_other_mode, test.of_other_mode, live.swept) == (2, 1, 2)
        for name, refused in (("webhook", False), ("webhook_refused", True)):
            await mark(connection, name, bank.clock())
            bank.clock.turn(minutes=1)
            assert (await asking.ask_database(LIVE, connection)).webhooks_refused == refused


def test_rules_of_value_added_tax_that_cannot_be_meant_are_doubted() -> None:
    norway, abroad = VatRule("NO", None, 2500, "3"), VatRule("*", None, 0, "52")
    assert doubts_about([norway, abroad], "NO", registered=True) == []
    assert doubts_about([abroad, norway], "NO", registered=True) == [
        "rule 2 of vat.rules never counts: one before it is for the same buyers",
        "consumers in NO pay no value added tax, though seller.vat_registered is true",
    ]
    assert doubts_about([abroad], "NO", registered=False) == []


def test_consumers_of_the_eu_and_the_uk_who_pay_no_tax_by_the_row_for_all_are_counted() -> None:
    norway, abroad = VatRule("NO", None, 2500, "3"), VatRule("*", None, 0, "52")
    found = zero_rated([norway, abroad], "NO")
    assert len(found) == 28
    assert {"DE", "GB", "SE"} < set(found)
    assert {"NO", "US", "CH"}.isdisjoint(found)
    swedes = [VatRule("SE", True, 0, "52"), VatRule("SE", False, 2500, "7")]
    assert set(found) - set(zero_rated([norway, *swedes, abroad], "NO")) == {"SE"}
    businesses = VatRule("*", True, 0, "52")
    assert zero_rated([norway, businesses, VatRule("*", False, 2500, "3")], "NO") == []
    nobody_is_there = replace(LIVE, zero_rated=found, consumers_of=("NO", "US"))
    assert [one.verdict for one in examine_selling(nobody_is_there)] == ["ok"]


async def test_the_countries_of_consumers_who_bought_are_known(bank: Bank) -> None:
    now = bank.clock()
    async with bank.database.begin() as connection:
        for country, business, paid_at in (("DE", False, now), ("FR", True, now), ("GB", False, None)):
            customer = await bank.customer(0)
            buyer = json.dumps({"country": country, "business": business})
            await execute(
                connection,
                "INSERT INTO payment (id, account_id, kind, state, value_nanodollars, net_cents, vat_cents,"
                " gross_cents, vat_code, vat_basis_points, buyer, created_at, paid_at)"
                " VALUES ($1, $2, 'credit', $3, 1, 1, 0, 1, '3', 0, $4, $5, $6)",
                new_id(now), customer.account_id, "credited" if paid_at else "open", buyer, now, paid_at,
            )  # fmt: skip
        assert (await asking.ask_database(LIVE, connection)).consumers_of == ("DE",)


@pytest.mark.parametrize(
    ("file", "env", "named"),
    [
        ("", LIVE_KEY, "site.address"),
        (SELLER.replace("999 999 999", '""'), LIVE_KEY, "seller.number"),
        (SELLER, LIVE_KEY | {"STRIPE_SANDBOX_PORT": "8002"}, "STRIPE_SANDBOX_PORT"),
        (SELLER, {"STRIPE_API_KEY": "pk_live_1", "STRIPE_WEBHOOK_SECRET": "whsec_1"}, "STRIPE_API_KEY"),
        (SELLER, {"STRIPE_API_KEY": "sk_live_1"}, "STRIPE_WEBHOOK_SECRET"),
        (SELLER, LIVE_KEY | {"STRIPE_WEBHOOK_SECRET": "we_1"}, "STRIPE_WEBHOOK_SECRET"),
        (SELLER + "payments: {currency: eur}", LIVE_KEY, "payments.currency"),
        (SELLER + "vat: {by: stripe, falls: use}", LIVE_KEY, "vat.falls"),
        (with_codes(), LIVE_KEY, "vat.codes: the last"),
        (with_codes(TAXED), LIVE_KEY, "vat.codes: the last"),
        (with_codes(UNTAXED, '{country: "NO", taxed: true, code: "3"}'), LIVE_KEY, "vat.codes: the last"),
        (with_codes(REDUCED, TAXED, UNTAXED), LIVE_KEY, 'vat.codes: "52"'),
        (with_codes(TAXED, '{country: "*", taxed: false, code: "3"}'), LIVE_KEY, 'vat.codes: "3"'),
        (SELLER, LIVE_KEY | {"STRIPE_API_KEY": "sk_test_1"}, "payments.practice"),
    ],
)
def test_what_is_wrong_without_asking_anybody_stops_the_start(
    tmp_path: Path, file: str, env: dict[str, str], named: str
) -> None:
    path = tmp_path / "appliance.yaml"
    path.write_text(SELLER)
    assert load_settings({"APPLIANCE_CONFIG": str(path), **LIVE_KEY}).is_live
    path.write_text(file)
    with pytest.raises(SettingsError, match=named):
        load_settings({"APPLIANCE_CONFIG": str(path), **env})


async def test_what_stripe_tax_lacks_is_asked_where_it_reckons() -> None:
    sandbox = Sandbox(settings(webhook_url=URL), clock=NOW.timestamp, receivers_clock=NOW.timestamp)
    sandbox.state.keep(PENDING, ["head_office"])
    provider = StripeProvider(KEY, SECRET, lambda: NOW, http=Dated(sandbox))
    for by_stripe, lacks in ((True, ("head_office",)), (False, None)):
        facts = Selling("test", webhook_url=URL, tax_by_stripe=by_stripe)
        assert (await asking.ask_stripe(facts, provider, lambda: NOW)).tax_lacks == lacks


@pytest.mark.parametrize(("key", "how"), [(KEY, "answered"), ("sk_test_other", "refused")])
async def test_the_library_asks_the_account_its_clock_and_its_webhooks(key: str, how: str) -> None:
    ahead = NOW + timedelta(hours=1)
    chosen = settings(webhook_url=URL)
    sandbox = Sandbox(chosen, clock=ahead.timestamp, receivers_clock=ahead.timestamp)
    provider = StripeProvider(key, SECRET, lambda: NOW, http=Dated(sandbox))
    found = await asking.ask_stripe(Selling("test", webhook_url=URL), provider, lambda: NOW)
    assert found.asked == how
    if how == "answered":
        assert (found.country, found.currency, found.clock_off_seconds) == ("NO", "usd", -3600)
        assert (found.webhook, found.events_missing) == ("registered", ())
        elsewhere = replace(found, webhook_url="https://other.example/stripe/webhook")
        assert (await asking.ask_stripe(elsewhere, provider, lambda: NOW)).webhook == "missing"
