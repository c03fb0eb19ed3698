"""What would go wrong with payments, and what to do about it. Pure.

What can be known without asking anybody stops the start (`appliance.settings`). What needs Stripe's answer is said
here alone: that Stripe does not answer keeps nothing down.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from appliance.doctor.finding import Finding
from billing.documents.buyers import Buyer
from billing.documents.europe import IN_EU
from billing.documents.vat import VatRule, rule_for
from billing.payments.provider import CURRENCY

CLOCK_OFF_SECONDS = 60
"""A signature of a webhook counts for five minutes; credit and plans end to the second."""
DASHBOARD = "https://dashboard.stripe.com"

EUROPE = IN_EU | {"GB"}
"""The EU and the United Kingdom: a consumer there owes the tax of that country, wherever the seller is."""

Mode = Literal["nothing", "sandbox", "test", "live"]


@dataclass(frozen=True)
class Selling:
    """What is true of the payments of this system now.

    `mode` is that of the key. `asked` is how Stripe answered; without an answer, what only it knows is None or
    empty. `may_not_read` is what a restricted key has no right to. `clock_off_seconds` is how far this machine is
    ahead of Stripe. `tax_lacks` is what Stripe Tax has to know of the seller and does not, and `refused_buyers`
    are the accounts whose address or tax number it does not take. `webhook` is what Stripe has for `webhook_url`.
    Since the last webhook that was taken, `swept` events were found by asking, and one or more were refused for
    their signature; `of_other_mode` are payments by a key of the other mode.
    `zero_rated` are the countries of `EUROPE` whose consumers pay no tax by the table, `consumers_of` those of
    consumers who have bought.
    """

    mode: Mode
    site_address: str = ""
    example_terms: bool = False
    seller_lacks: Sequence[str] = ()
    has_bank_account: bool = True
    has_postpaid: bool = False
    vat_doubts: Sequence[str] = ()
    zero_rated: Sequence[str] = ()
    anybody_joins: bool = False
    consumers_of: Sequence[str] = ()
    tax_by_stripe: bool = False
    tax_lacks: Sequence[str] | None = None
    refused_buyers: Sequence[int] = ()
    asked: Literal["answered", "unreachable", "refused"] | None = None
    may_not_read: Sequence[str] = ()
    country: str = ""
    currency: str = ""
    clock_off_seconds: float | None = None
    webhook_url: str = ""
    webhook: Literal["registered", "missing", "disabled"] | None = None
    events_missing: Sequence[str] = ()
    webhooks_refused: bool = False
    swept: int = 0
    of_other_mode: int = 0


def examine_selling(facts: Selling) -> list[Finding]:
    """Only what there is to say."""
    checks: Sequence[Callable[[Selling], Finding | None]] = (
        _key, _mode, _seller, _bank, _vat, _consumers, _stripe_tax, _refused, _clock, _webhook,
    )  # fmt: skip
    return [finding for check in checks if (finding := check(facts)) is not None]


def _key(facts: Selling) -> Finding:
    if facts.mode == "sandbox":
        return Finding("stripe", "ok", "the sandbox stands in for Stripe: no real money")
    if facts.mode == "nothing":
        return Finding("stripe", "ok", "without STRIPE_API_KEY nothing is sold")
    if facts.asked == "refused":
        found = "Stripe does not accept the key in STRIPE_API_KEY"
        return Finding("stripe", "fail", found, f"copy the secret key from {DASHBOARD}/apikeys, and start again")
    if facts.asked == "unreachable":
        found = "Stripe cannot be reached: its account and webhook are not checked"
        return Finding("stripe", "warn", found, "let this machine reach api.stripe.com on port 443")
    if facts.may_not_read:
        found = f"the key in STRIPE_API_KEY may not read {', '.join(facts.may_not_read)}"
        return Finding("stripe", "fail", found, f"give it these rights at {DASHBOARD}/apikeys")
    told = f"a {facts.mode} key of an account in {facts.country}"
    kept = "" if facts.currency == CURRENCY else f", whose balance Stripe keeps in {facts.currency.upper()}"
    return Finding("stripe", "ok", f"{told}{kept}")


def _mode(facts: Selling) -> Finding | None:
    if facts.of_other_mode:
        other = "test" if facts.mode == "live" else "live"
        with_what = "the sandbox is used" if facts.mode == "sandbox" else f"the key is of {facts.mode} mode"
        found = f"{with_what}, but {facts.of_other_mode} payments here are of {other} mode"
        advice = (
            "credit was given for test money: begin with an empty database before you sell"
            if facts.mode == "live"
            else "put the live key back: renewals, refunds and disputes of those payments are not seen"
        )
        return Finding("mode", "fail", found, advice)
    if facts.mode == "live" and facts.example_terms:
        found = "real money is taken under the example terms"
        return Finding("mode", "fail", found, "name your own in site.terms_file and site.privacy_file")
    if facts.mode == "test" and facts.site_address:
        found = f"customers of {facts.site_address} pay with test money: the key is of test mode"
        return Finding("mode", "warn", found, "put the live key in STRIPE_API_KEY before you sell")
    return None


def _seller(facts: Selling) -> Finding | None:
    if facts.mode not in ("test", "live") or not facts.seller_lacks:
        return None
    found = f"receipts and invoices lack what the law wants on them: {', '.join(facts.seller_lacks)}"
    return Finding("seller", "warn", found, "fill in the section seller of appliance.yaml")


def _bank(facts: Selling) -> Finding | None:
    if facts.mode not in ("test", "live") or facts.has_bank_account or not facts.has_postpaid:
        return None
    found = "accounts here have a credit limit, and their invoices do not say where to pay by bank"
    return Finding("bank account", "warn", found, "fill in seller.bank_account in appliance.yaml")


def _vat(facts: Selling) -> Finding | None:
    if facts.mode == "nothing" or not facts.vat_doubts:
        return None
    return Finding("vat", "warn", "; ".join(facts.vat_doubts), "look at vat.rules in appliance.yaml")


def _consumers(facts: Selling) -> Finding | None:
    bought = sorted(set(facts.consumers_of) & set(facts.zero_rated))
    if facts.mode not in ("test", "live") or not facts.zero_rated or not (bought or facts.anybody_joins):
        return None
    who = f"consumers in {', '.join(bought)} have bought" if bought else "consumers in the EU and the UK can buy"
    found = f"{who} at 0 %, by the row * of vat.rules: they owe you the tax of their own country"
    advice = "ask your accountant, and add their countries to vat.rules: docs/decisions/0033-value-added-tax.md"
    return Finding("consumers abroad", "warn", found, advice)


def _stripe_tax(facts: Selling) -> Finding | None:
    if facts.mode not in ("test", "live") or not facts.tax_by_stripe or facts.tax_lacks is None:
        return None
    if facts.tax_lacks:
        found = f"Stripe Tax is not active, so that nothing can be sold: it lacks {', '.join(facts.tax_lacks)}"
        return Finding("stripe tax", "fail", found, f"fill it in at {DASHBOARD}/settings/tax")
    return Finding("stripe tax", "ok", "active: it taxes where you are registered at Stripe Tax, and nowhere else")


def _refused(facts: Selling) -> Finding | None:
    if not facts.tax_by_stripe or not facts.refused_buyers:
        return None
    who = ", ".join(map(str, facts.refused_buyers))
    found = f"Stripe does not take the address or tax number of accounts {who}: it taxes renewals by what it has"
    advice = "ask them to put it right under Billing; what they were charged since may have the wrong tax"
    return Finding("buyers", "warn", found, advice)


def _clock(facts: Selling) -> Finding | None:
    off = facts.clock_off_seconds
    if off is None or abs(off) <= CLOCK_OFF_SECONDS:
        return None
    found = f"this machine's clock is {_minutes(abs(off))} {'ahead of' if off > 0 else 'behind'} Stripe's"
    advice = "set it (timedatectl set-ntp true): webhooks are refused, and credit and plans end at the wrong time"
    return Finding("clock", "fail", found, advice)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"


def _webhook(facts: Selling) -> Finding | None:
    at = f"{DASHBOARD}/webhooks"
    if facts.webhooks_refused and facts.swept:  # anybody can send what is not signed
        found = "webhooks come that are not signed with STRIPE_WEBHOOK_SECRET, and none that are"
        return Finding("webhook", "fail", found, f"copy the endpoint's signing secret from {at}, and start again")
    if facts.webhook == "missing":
        found = f"Stripe has no webhook for {facts.webhook_url}: payments are found late"
        return Finding("webhook", "warn", found, f"add the endpoint at {at}, and its secret here")
    if facts.webhook == "disabled":
        return Finding("webhook", "warn", f"the webhook for {facts.webhook_url} is disabled", f"enable it at {at}")
    if facts.events_missing:
        found = f"the webhook for {facts.webhook_url} lacks events: {', '.join(facts.events_missing)}"
        return Finding("webhook", "warn", found, f"add them at {at}")
    if facts.swept:
        found = f"the last {facts.swept} events did not come by webhook, they were found by asking"
        return Finding("webhook", "warn", found, f"see at {at} why deliveries to {facts.webhook_url} fail")
    return None


def doubts_about(rules: Sequence[VatRule], country: str, *, registered: bool) -> list[str]:
    """Of the table of value added tax, for a seller in ``country``."""
    if not registered:
        return []
    found = []
    for number, rule in enumerate(rules, 1):
        if any(_covers(before, rule) for before in rules[: number - 1]):
            found.append(f"rule {number} of vat.rules never counts: one before it is for the same buyers")
    at_home = [rule for rule in rules if rule.country in (country, "*") and rule.business is not True][:1]
    if any(rule.basis_points == 0 for rule in at_home):
        found.append(f"consumers in {country} pay no value added tax, though seller.vat_registered is true")
    return found


def zero_rated(rules: Sequence[VatRule], country: str) -> list[str]:
    """Where in ``EUROPE`` a consumer pays no tax by a row for all countries; not where the seller is."""
    found = []
    for there in sorted(EUROPE - {country}):
        rule = rule_for(Buyer("", "", "", "", there, business=False), rules)
        if rule.country == "*" and rule.basis_points == 0:
            found.append(there)
    return found


def _covers(before: VatRule, after: VatRule) -> bool:
    return before.country in (after.country, "*") and before.business in (after.business, None)
