"""The tables of what is sold: buyers, plans, payments, refunds, disputes, documents, and what Stripe says of them.

Amounts in cents are US cents, as Stripe has them. No table holds anything of a card but what Stripe shows of it.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Numeric,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from billing.database.tables import metadata, moment

buyer = Table(
    "buyer",
    metadata,
    Column("account_id", ForeignKey("account.id"), primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("postal_code", Text, nullable=False),
    Column("city", Text, nullable=False),
    Column("country", Text, nullable=False),
    Column("business", Boolean, nullable=False),
    Column("tax_number", Text),
    moment("updated_at"),
    CheckConstraint("country ~ '^[A-Z]{2}$'", name="country"),
    comment="who buys, as the next document says it; documents keep their own copy",
)

wallet = Table(
    "wallet",
    metadata,
    Column("account_id", ForeignKey("account.id"), primary_key=True, autoincrement=False),
    Column("customer", Text, unique=True),
    Column("card", Text),
    Column("card_label", Text),
    Column("below_nanodollars", BigInteger),
    Column("top_up_cents", BigInteger),
    Column("ceiling_cents", BigInteger),
    Column("paused", Text),
    moment("told_at", nullable=True),
    moment("refused_at", nullable=True),
    CheckConstraint(
        "(below_nanodollars IS NULL) = (top_up_cents IS NULL)"
        " AND (top_up_cents IS NULL) = (ceiling_cents IS NULL)",
        name="top_up",
    ),
    CheckConstraint("least(below_nanodollars, top_up_cents, ceiling_cents) > 0", name="amounts"),
    Index(
        "ix_wallet_charged",
        "account_id",
        postgresql_where=text("below_nanodollars IS NOT NULL AND card IS NOT NULL AND paused IS NULL"),
    ),
    comment="the account at Stripe, the saved card by Stripe's id, and when it is charged by itself;"
    " ceiling_cents in a calendar month; paused: why it is not charged until somebody looks;"
    " told_at: which state of the buyer Stripe knows; refused_at: which it does not take",
)

plan_version = Table(
    "plan_version",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("plan", Text, nullable=False),
    Column("cents", BigInteger, nullable=False),
    Column("allowance_nanodollars", BigInteger, nullable=False),
    Column("terms", JSONB, nullable=False),
    moment("since"),
    CheckConstraint("cents > 0 AND allowance_nanodollars >= 0", name="amounts"),
    Index("ix_plan_version_plan", "plan", "id"),
    comment="append-only: what a plan was when somebody could subscribe to it; who did, renews at it",
)

plan_price = Table(
    "plan_price",
    metadata,
    Column("version_id", ForeignKey("plan_version.id"), primary_key=True, autoincrement=False),
    Column("cents", BigInteger, primary_key=True, autoincrement=False),
    Column("tax", Text, primary_key=True, server_default="paid"),
    Column("price", Text, nullable=False, unique=True),
    CheckConstraint("tax ~ '^(paid|(inclusive|exclusive) txcd_[0-9]{8})$'", name="tax"),
    comment="append-only: the plan's version at Stripe; cents: with the tax that its buyers pay,"
    " or where Stripe reckons it (tax: inclusive or exclusive, and its tax code) as advertised",
)

subscription = Table(
    "subscription",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("account_id", ForeignKey("account.id"), nullable=False, index=True),
    Column("version_id", ForeignKey("plan_version.id"), nullable=False),
    Column("next_version_id", ForeignKey("plan_version.id")),
    Column("state", Text, nullable=False),
    Column("stripe_id", Text, unique=True),
    Column("checkout", Text, unique=True),
    Column("cancels", Boolean, nullable=False, server_default="false"),
    Column("before", JSONB),
    moment("created_at"),
    moment("period_start", nullable=True),
    moment("period_end", nullable=True),
    moment("grace_until", nullable=True),
    moment("ended_at", nullable=True),
    Column("end_reason", Text),
    Column("written", Integer, nullable=False, server_default="0"),
    moment("changing_at", nullable=True),
    CheckConstraint("state IN ('ordered', 'active', 'past_due', 'ended')", name="state"),
    CheckConstraint("(state = 'ended') = (ended_at IS NOT NULL)", name="ended"),
    CheckConstraint("(state = 'past_due') = (grace_until IS NOT NULL)", name="grace"),
    Index(
        "uq_subscription_running",
        "account_id",
        unique=True,
        postgresql_where=text("state IN ('active', 'past_due')"),
    ),
    comment="an account's time on a plan; next_version_id at the period's end; before: the limits that come back;"
    " written: how often, so that nothing older is written over it; changing_at: an upgrade is under way",
)

PAYMENT_KINDS = ("credit", "top_up", "plan", "upgrade", "invoice")
PAYMENT_WAYS = ("stripe", "bank")
PAYMENT_STATES = ("ordered", "open", "credited", "failed", "expired", "unwanted")

payment = Table(
    "payment",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("account_id", ForeignKey("account.id"), nullable=False, index=True),
    Column("kind", Text, nullable=False),
    Column("way", Text, nullable=False, server_default="stripe"),
    Column("state", Text, nullable=False),
    Column("value_nanodollars", BigInteger, nullable=False),
    Column("net_cents", BigInteger, nullable=False),
    Column("vat_cents", BigInteger, nullable=False),
    Column("gross_cents", BigInteger, nullable=False),
    Column("vat_code", Text, nullable=False),
    Column("vat_basis_points", Integer, nullable=False),
    Column("vat_reason", Text),
    Column("tax_calculation", Text),
    Column("buyer", JSONB, nullable=False),
    moment("created_at"),
    moment("paid_at", nullable=True),
    Column("checkout", Text, unique=True),
    Column("intent", Text, unique=True),
    Column("invoice", Text, unique=True),
    Column("lot_id", ForeignKey("lot.id"), unique=True),
    Column("subscription_id", ForeignKey("subscription.id")),
    Column("version_id", ForeignKey("plan_version.id")),
    moment("period_start", nullable=True),
    moment("period_end", nullable=True),
    Column("document_id", BigInteger),
    Column("failure", Text),
    Column("save_card", Boolean, nullable=False, server_default="false"),
    CheckConstraint("kind IN ('credit', 'top_up', 'plan', 'upgrade', 'invoice')", name="kind"),
    CheckConstraint("state IN ('ordered', 'open', 'credited', 'failed', 'expired', 'unwanted')", name="state"),
    CheckConstraint("net_cents + vat_cents = gross_cents AND least(net_cents, vat_cents) >= 0", name="sum"),
    CheckConstraint("(state IN ('credited', 'unwanted')) = (paid_at IS NOT NULL)", name="paid"),
    CheckConstraint("(kind = 'invoice') = (document_id IS NOT NULL)", name="of_document"),
    CheckConstraint(
        "way IN ('stripe', 'bank')"
        " AND (way = 'stripe' OR kind = 'invoice' AND num_nonnulls(checkout, intent, invoice) = 0)",
        name="way",
    ),
    Index("ix_payment_unfinished", "created_at", postgresql_where=text("state IN ('ordered', 'open')")),
    Index(
        "uq_payment_top_up",
        "account_id",
        unique=True,
        postgresql_where=text("kind = 'top_up' AND state = 'ordered'"),
    ),
    Index("ix_payment_paid_at", "paid_at"),
    comment="money that is asked for or came; its id is the cause of its lot; value: of the lot or of the plan;"
    " save_card: its page keeps the card; document_id: the invoice that it pays;"
    " period: of a plan that it pays for;"
    " way: bank is what the operator saw on his own bank account;"
    " vat_reason: Stripe's, where Stripe reckoned the tax, tax_calculation: by which of its calculations",
)

refund = Table(
    "refund",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("payment_id", ForeignKey("payment.id"), nullable=False, index=True),
    Column("state", Text, nullable=False),
    Column("value_nanodollars", BigInteger, nullable=False),
    Column("net_cents", BigInteger, nullable=False),
    Column("vat_cents", BigInteger, nullable=False),
    Column("gross_cents", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("stripe_id", Text, unique=True),
    Column("past_ids", ARRAY(Text), nullable=False, server_default="{}"),
    Column("failure", Text),
    Column("tries", Integer, nullable=False, server_default="0"),
    moment("created_at"),
    moment("done_at", nullable=True),
    CheckConstraint("state IN ('asked', 'taken', 'sent', 'done', 'failed', 'otherwise', 'refused')", name="state"),
    CheckConstraint("net_cents + vat_cents = gross_cents AND least(net_cents, vat_cents) >= 0", name="sum"),
    Index(
        "ix_refund_unfinished",
        "created_at",
        postgresql_where=text("state IN ('asked', 'taken', 'sent', 'failed')"),
    ),
    comment="money that goes back: asked, the credit taken, sent to Stripe, done; otherwise: paid by other means;"
    " tries: that failed; past_ids: Stripe's, of tries that failed before the newest",
)

dispute = Table(
    "dispute",
    metadata,
    Column("id", Text, primary_key=True),
    Column("payment_id", ForeignKey("payment.id"), nullable=False, index=True),
    Column("cause", Uuid, nullable=False, unique=True),
    Column("state", Text, nullable=False),
    Column("cents", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    moment("opened_at"),
    moment("due_at", nullable=True),
    moment("closed_at", nullable=True),
    Column("pay_by", Date),
    CheckConstraint("state IN ('inquiry', 'open', 'won', 'lost', 'closed')", name="state"),
    comment="a payment that its payer's bank contests; id is Stripe's; cause: of its transfers when it is lost;"
    " an inquiry moves no money; pay_by: until when the invoice whose payment is lost is to be paid anew",
)

stripe_event = Table(
    "stripe_event",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("object", Text, nullable=False),
    Column("came_by", Text, nullable=False),
    moment("created_at"),
    moment("received_at"),
    moment("due_at"),
    Column("tries", Integer, nullable=False, server_default="0"),
    moment("handled_at", nullable=True),
    Column("error", Text),
    CheckConstraint("came_by IN ('webhook', 'sweep')", name="came_by"),
    Index("ix_stripe_event_due", "due_at", postgresql_where=text("handled_at IS NULL")),
    Index("ix_stripe_event_created_at", "created_at"),
    comment="what Stripe told, once for each event, without its content: what it is about is fetched afresh",
)

stripe_movement = Table(
    "stripe_movement",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("source", Text),
    Column("intent", Text),
    Column("payment_id", Uuid),
    Column("currency", Text, nullable=False),
    Column("cents", BigInteger, nullable=False),
    Column("fee_cents", BigInteger, nullable=False),
    Column("net_cents", BigInteger, nullable=False),
    Column("exchange_rate", Numeric),
    Column("usd_cents", BigInteger),
    moment("created_at"),
    CheckConstraint("currency <> 'usd' OR usd_cents = cents", name="usd"),
    Index("ix_stripe_movement_created_at", "created_at"),
    Index("ix_stripe_movement_intent", "intent"),
    Index("ix_stripe_movement_source", "source"),
    comment="append-only: each movement of the balance at Stripe, in the balance's currency; the fee is what"
    " Stripe kept of it; usd_cents is what was charged, refunded or disputed",
)

stripe_mark = Table(
    "stripe_mark",
    metadata,
    Column("name", Text, primary_key=True),
    moment("at"),
    CheckConstraint("name IN ('swept', 'imported', 'webhook', 'webhook_refused')", name="name"),
    comment="swept: events until then are known; imported: movements; when a webhook came last, or was refused",
)

document_series = Table(
    "document_series",
    metadata,
    Column("name", Text, primary_key=True),
    Column("last", BigInteger, nullable=False),
    comment="the last number given in each series of documents; the trigger of document alone changes it",
)

document = Table(
    "document",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("series", ForeignKey("document_series.name"), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("account_id", ForeignKey("account.id"), nullable=False, index=True),
    Column("payment_id", ForeignKey("payment.id")),
    Column("refund_id", ForeignKey("refund.id"), unique=True),
    Column("cause", Uuid, unique=True),
    Column("period", Text),
    Column("corrects_id", ForeignKey("document.id")),
    moment("issued_at"),
    moment("delivered_at"),
    moment("delivered_until", nullable=True),
    Column("due_on", Date),
    Column("net_cents", BigInteger, nullable=False),
    Column("vat_cents", BigInteger, nullable=False),
    Column("gross_cents", BigInteger, nullable=False),
    Column("vat_code", Text, nullable=False),
    Column("vat_basis_points", Integer, nullable=False),
    Column("seller", JSONB, nullable=False),
    Column("buyer", JSONB, nullable=False),
    Column("lines", JSONB, nullable=False),
    Column("language", Text, nullable=False),
    Column("note", Text, nullable=False, server_default=""),
    Column("exchange", JSONB),
    UniqueConstraint("series", "number"),
    UniqueConstraint("payment_id", "kind"),
    UniqueConstraint("account_id", "kind", "period"),
    CheckConstraint("kind IN ('receipt', 'invoice', 'credit_note', 'usage')", name="kind"),
    CheckConstraint("net_cents + vat_cents = gross_cents", name="sum"),
    CheckConstraint("(kind = 'credit_note') = (corrects_id IS NOT NULL)", name="corrects"),
    Index("ix_document_issued_at", "issued_at"),
    comment="append-only: receipts, invoices, credit notes, and what credit was used where tax falls then;"
    " the number is given by a trigger, without a gap; amounts of a credit note are positive;"
    " cause: of what a credit note takes back of an invoice that is unpaid;"
    " period: the month that it is for; note: what the law wants said;"
    " exchange: to the currency of the seller's books, with its day and source",
)

invoiced_month = Table(
    "invoiced_month",
    metadata,
    Column("account_id", ForeignKey("account.id"), primary_key=True, autoincrement=False),
    Column("period", Text, primary_key=True),
    Column("used_nanodollars", BigInteger, nullable=False),
    Column("before_nanodollars", BigInteger, nullable=False),
    Column("gone_nanodollars", BigInteger, nullable=False),
    Column("rest_nanodollars", BigInteger, nullable=False),
    Column("document_id", ForeignKey("document.id"), unique=True),
    Column("vat_cause", Uuid, unique=True),
    moment("recorded_at"),
    CheckConstraint(
        "least(used_nanodollars, before_nanodollars, gone_nanodollars, rest_nanodollars) >= 0", name="amounts"
    ),
    CheckConstraint("period ~ '^[0-9]{4}-[0-9]{2}$'", name="period"),
    comment="append-only: what an account used beyond its credit in a month; before: the rest of the month before;"
    " gone: paid or forgiven before it was invoiced; rest: less than a cent, for the next month;"
    " the document is for what is left; vat_cause: of the transfer of its tax, where that comes on top",
)

allocation = Table(
    "allocation",
    metadata,
    Column("cause", Uuid, primary_key=True),
    Column("document_id", ForeignKey("document.id"), primary_key=True, index=True),
    Column("cents", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("vat_cents", BigInteger, nullable=False, server_default="0"),
    moment("created_at"),
    CheckConstraint("cents > 0 AND vat_cents BETWEEN 0 AND cents", name="amounts"),
    CheckConstraint("kind IN ('credited', 'forgiven', 'paid')", name="kind"),
    comment="append-only: what went to an invoice of a debt that was given up, or of money that named no invoice;"
    " cause is the transfer's; credited: there is a credit note of it, with vat_cents; paid: by such money",
)

exchange_rate = Table(
    "exchange_rate",
    metadata,
    Column("currency", Text, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("rate", Numeric(18, 8), nullable=False),
    Column("source", Text, nullable=False),
    moment("recorded_at"),
    CheckConstraint("rate > 0", name="positive"),
    comment="append-only: what a US dollar was worth on a day, and who says so",
)

carried_booking = Table(
    "carried_booking",
    metadata,
    Column("ledger_account_id", ForeignKey("ledger_account.id"), primary_key=True, autoincrement=False),
    Column("kind", Text, primary_key=True),
    Column("cause", Uuid, primary_key=True),
    Column("at", DateTime(timezone=True), primary_key=True),
    Column("financial_year", Integer, nullable=False),
    Column("nanodollars", BigInteger, nullable=False),
    comment="append-only: what the books need of transfers that are archived: of each lot that was bought, by kind"
    " and month, what left it (cause is the lot's); lost disputes and debts that were paid or given up one by one",
)

exported_year = Table(
    "exported_year",
    metadata,
    Column("year", Integer, primary_key=True, autoincrement=False),
    moment("exported_at"),
    comment="append-only: when the books of a year that is over were exported first: what comes later is not in"
    " them",
)

VAT_CAUSE = "encode(set_byte(uuid_send({0}), 15, get_byte(uuid_send({0}), 15) # 1), 'hex')::uuid"
"""SQL of the cause of the tax on top, of the column of a payment's id. As ``billing.ids.vat_cause``."""

APPEND_ONLY = (
    "plan_version",
    "plan_price",
    "stripe_movement",
    "document",
    "invoiced_month",
    "allocation",
    "exchange_rate",
    "carried_booking",
    "exported_year",
)
