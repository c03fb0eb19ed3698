"""The tables. Every change of these comes with a migration; a test holds the two together."""

from datetime import datetime
from typing import Any

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
    LargeBinary,
    MetaData,
    Numeric,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def moment(name: str, *, nullable: bool = False) -> Column[datetime]:
    """A column of points in time, each with its zone."""
    return Column(name, DateTime(timezone=True), nullable=nullable)


def _quoted(*names: str) -> str:
    return ", ".join(f"'{name}'" for name in names)


LIMITS = ("requests_per_minute", "tokens_per_minute", "concurrent_requests", "budget_nanodollars")


def _limits() -> list[Column[Any] | CheckConstraint]:
    """The limits of an account or a key, and what they need to remember. ``month`` is 12 x year + month - 1."""
    return [
        Column("requests_per_minute", Integer),
        Column("tokens_per_minute", Integer),
        Column("concurrent_requests", Integer),
        Column("budget_nanodollars", BigInteger),
        Column("held_nanodollars", BigInteger, nullable=False, server_default="0"),
        Column("open_holds", Integer, nullable=False, server_default="0"),
        Column("month", Integer, nullable=False, server_default="0"),
        Column("month_spent_nanodollars", BigInteger, nullable=False, server_default="0"),
        moment("requests_tat", nullable=True),
        moment("tokens_tat", nullable=True),
        CheckConstraint(f"least({', '.join(LIMITS)}) > 0", name="limits"),
        CheckConstraint("least(held_nanodollars, open_holds, month_spent_nanodollars) >= 0", name="used"),
    ]


account = Table(
    "account",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("role", Text, nullable=False),
    Column("status", Text, nullable=False, server_default="active"),
    moment("created_at"),
    Column("balance_nanodollars", BigInteger, nullable=False, server_default="0"),
    Column("owed_nanodollars", BigInteger, nullable=False, server_default="0"),
    Column("credit_limit_nanodollars", BigInteger),
    *_limits(),
    moment("sweep_at", nullable=True),
    moment("stops_until", nullable=True),
    Column("limited_keys", Boolean, nullable=False, server_default="false"),
    Column("negotiated", Boolean, nullable=False, server_default="false"),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("models", ARRAY(Text)),
    Column("status_before", Text),
    moment("delete_at", nullable=True),
    CheckConstraint("role IN ('operator', 'customer')", name="role"),
    CheckConstraint("status IN ('active', 'suspended', 'terminated', 'deleting', 'deleted')", name="status"),
    CheckConstraint(
        "balance_nanodollars >= 0 AND (held_nanodollars <= balance_nanodollars"
        " OR credit_limit_nanodollars IS NOT NULL)",
        name="no_overdraft",
    ),
    CheckConstraint("least(owed_nanodollars, credit_limit_nanodollars) >= 0", name="owed"),
    CheckConstraint("(status IN ('deleting', 'deleted')) = (delete_at IS NOT NULL)", name="delete_at"),
    Index("ix_account_sweep_at", "sweep_at", postgresql_where=text("sweep_at IS NOT NULL")),
    postgresql_with={"fillfactor": "50"},
    comment="sweep_at: the earliest end of a lot that holds credit; stops_until: until then only allowances pay;"
    " models: those that its plan is for, all without",
)

api_key = Table(
    "api_key",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("account_id", ForeignKey("account.id"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("hint", Text, nullable=False),
    moment("created_at"),
    moment("revoked_at", nullable=True),
    moment("expires_at", nullable=True),
    Column("purpose", Text, nullable=False, server_default="program"),
    Index("uq_api_key_playground", "account_id", unique=True, postgresql_where=text("purpose = 'playground'")),
    Index("uq_api_key_chat", "account_id", unique=True, postgresql_where=text("purpose = 'chat'")),
    comment="of an account's own playground there is one, with a new digest each time, and one of its chat,"
    " without a text: its digest is made of the subject",
)

key_limit = Table(
    "key_limit",
    metadata,
    Column("key_id", ForeignKey("api_key.id"), primary_key=True),
    *_limits(),
    postgresql_with={"fillfactor": "50"},
    comment="a row only for keys with limits of their own; account.limited_keys says whether there are any",
)

rate = Table(
    "rate",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("model", Text, nullable=False),
    Column("account_id", ForeignKey("account.id")),
    moment("effective_at"),
    moment("ends_at", nullable=True),
    moment("announced_at"),
    Column("input", BigInteger, nullable=False),
    Column("cached_input", BigInteger, nullable=False),
    Column("output", BigInteger, nullable=False),
    Column("request", BigInteger, nullable=False, server_default="0"),
    Column("image", BigInteger, nullable=False, server_default="0"),
    Column("audio_second", BigInteger, nullable=False, server_default="0"),
    Index("ix_rate_model_account_id_effective_at", "model", "account_id", "effective_at"),
    CheckConstraint("least(input, cached_input, output, request, image, audio_second) >= 0", name="not_negative"),
    CheckConstraint("ends_at IS NULL OR account_id IS NOT NULL", name="only_negotiated_ends"),
    comment="append-only; micro-dollars per million tokens, nano-dollars per request, image, second of audio;"
    " account_id is whose negotiated rate it is",
)

rate_withdrawal = Table(
    "rate_withdrawal",
    metadata,
    Column("rate_id", BigInteger, primary_key=True, autoincrement=False),
    moment("at"),
    comment="append-only: a rate that was announced and taken back before it took effect; who and why is in audit",
)

HOUSE = ("payments", "grants", "plans", "revenue", "expired", "forfeited", "disputed", "written_off", "vat")

ledger_account = Table(
    "ledger_account",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("account_id", ForeignKey("account.id")),
    CheckConstraint(f"kind IN ({_quoted('lot', 'receivable', *HOUSE)})", name="kind"),
    CheckConstraint("(kind IN ('lot', 'receivable')) = (account_id IS NOT NULL)", name="has_owner"),
    Index("uq_ledger_account_house", "kind", unique=True, postgresql_where=text("account_id IS NULL")),
    Index(
        "uq_ledger_account_receivable",
        "account_id",
        unique=True,
        postgresql_where=text("kind = 'receivable'"),
    ),
)

lot = Table(
    "lot",
    metadata,
    Column("id", ForeignKey("ledger_account.id"), primary_key=True),
    Column("account_id", ForeignKey("account.id"), nullable=False),
    Column("cause", Uuid, nullable=False, unique=True),
    Column("source", Text, nullable=False),
    Column("reason", Text, nullable=False),
    moment("acquired_at"),
    moment("expires_at"),
    Column("amount_nanodollars", BigInteger, nullable=False),
    Column("remaining_nanodollars", BigInteger, nullable=False),
    Column("frozen_nanodollars", BigInteger, nullable=False, server_default="0"),
    moment("ends_at"),
    Column("end_kind", Text, nullable=False),
    Column("open", Boolean, nullable=False, server_default="true"),
    CheckConstraint("source IN ('purchase', 'grant', 'allowance')", name="source"),
    CheckConstraint("end_kind IN ('expiry', 'forfeiture', 'dispute', 'chargeback', 'refund')", name="end_kind"),
    CheckConstraint(
        "0 <= remaining_nanodollars AND 0 <= frozen_nanodollars"
        " AND remaining_nanodollars + frozen_nanodollars <= amount_nanodollars",
        name="remaining",
    ),
    CheckConstraint("frozen_nanodollars = 0 OR end_kind = 'dispute'", name="frozen"),
    CheckConstraint("open = (remaining_nanodollars > 0)", name="open"),
    Index("ix_lot_open", "account_id", postgresql_where=text("open")),
    postgresql_with={"fillfactor": "50"},
    comment="cause makes the operation that opened it idempotent; `open` keeps the index out of every update",
)

# The three tables below grow with every request. Their references are not foreign keys: each id was read
# in the transaction that writes it, a check would cost a look-up a column, and `ledger verify` checks them
# all (docs/decisions/0003-references-without-foreign-keys.md).

TRANSFERS = {
    # kind: from (debit) -> to (credit)
    "purchase": ("payments", "lot"),
    "grant": ("grants", "lot"),
    "allowance": ("plans", "lot"),
    "usage": ("lot", "revenue"),
    "postpaid": ("receivable", "revenue"),
    "expiry": ("lot", "expired"),
    "forfeiture": ("lot", "forfeited"),
    "refund": ("lot", "payments"),
    "freeze": ("lot", "disputed"),
    "release": ("disputed", "lot"),
    "chargeback": ("disputed", "payments"),
    "shortfall": ("receivable", "payments"),
    "payment": ("payments", "receivable"),
    "write_off": ("written_off", "receivable"),
    "plan": ("payments", "plans"),
    "plan_refund": ("plans", "payments"),
    "vat": ("payments", "vat"),
    "vat_refund": ("vat", "payments"),
    "vat_invoiced": ("receivable", "vat"),
    "vat_credited": ("vat", "receivable"),
    "invoice_refund": ("receivable", "payments"),
}

transfer = Table(
    "transfer",
    metadata,
    Column("cause", Uuid, primary_key=True),
    Column("debit_id", BigInteger, primary_key=True),
    Column("credit_id", BigInteger, nullable=False),
    Column("amount_nanodollars", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    moment("created_at"),
    CheckConstraint("amount_nanodollars > 0", name="positive"),
    CheckConstraint("debit_id <> credit_id", name="two_sides"),
    CheckConstraint(f"kind IN ({_quoted(*TRANSFERS)})", name="kind"),
    Index("ix_transfer_created_at", "created_at", postgresql_using="brin"),
    Index("ix_transfer_postpaid", "debit_id", "created_at", postgresql_where=text("kind = 'postpaid'")),
    comment="append-only double entry: amount moves from the debit to the credit side;"
    " cause is the request of a usage or postpaid transfer, else the operation",
)

hold = Table(
    "hold",
    metadata,
    Column("request_id", Uuid, primary_key=True),
    Column("account_id", BigInteger, nullable=False),
    Column("key_id", BigInteger, nullable=False),
    Column("rate_id", BigInteger, nullable=False),
    Column("model", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("amount_nanodollars", BigInteger, nullable=False),
    moment("created_at"),
    CheckConstraint("amount_nanodollars >= 0", name="amount"),
    comment="one row per admitted, unresolved request; resolving deletes it and writes its usage row",
)

usage = Table(
    "usage",
    metadata,
    Column("request_id", Uuid, primary_key=True),
    Column("account_id", BigInteger, nullable=False),
    Column("key_id", BigInteger, nullable=False),
    Column("rate_id", BigInteger, nullable=False),
    Column("model", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("images", Integer, nullable=False, server_default="0"),
    Column("audio_seconds", Integer, nullable=False, server_default="0"),
    Column("cost_nanodollars", BigInteger, nullable=False),
    Column("ended", Text, nullable=False),
    moment("created_at"),
    moment("settled_at"),
    CheckConstraint("cost_nanodollars >= 0", name="cost"),
    CheckConstraint("0 <= cached_tokens AND cached_tokens <= prompt_tokens", name="cached"),
    CheckConstraint("least(completion_tokens, images, audio_seconds) >= 0", name="counts"),
    Index("ix_usage_account_id_request_id", "account_id", "request_id"),
    Index("ix_usage_settled_at", "settled_at", postgresql_using="brin"),
    postgresql_partition_by="RANGE (request_id)",
    comment="one row per resolved request; no content; request ids are UUIDv7, so their order is time's,"
    " and a partition is a month (billing/database/partitions.py)",
)

audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    moment("at"),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("account_id", BigInteger),
    Column("subject", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Index("ix_audit_account_id", "account_id"),
    comment="append-only: who did what, to whom, why and when; no content and no secret",
)

notice = Table(
    "notice",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    moment("created_at"),
    Column("kind", Text, nullable=False),
    Column("account_id", BigInteger),
    Column("subject", Text, nullable=False),
    Column("body", JSONB, nullable=False),
    moment("sent_at", nullable=True),
    UniqueConstraint("kind", "account_id", "subject", postgresql_nulls_not_distinct=True),
    Index("ix_notice_unsent", "id", postgresql_where=text("sent_at IS NULL")),
    comment="queued for mail, each once; account_id is null for everybody",
)

day_seal = Table(
    "day_seal",
    metadata,
    Column("day", Date, primary_key=True),
    Column("records", BigInteger, nullable=False),
    Column("digests", JSONB, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    moment("sealed_at"),
    comment="append-only: SHA-256 over the day's records and the day before",
)

closing = Table(
    "closing",
    metadata,
    Column("day", Date, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("differences", BigInteger, nullable=False),
    Column("discrepancies", BigInteger, nullable=False),
    Column("broken_seals", BigInteger, nullable=False),
    Column("takings", BigInteger, nullable=False, server_default="0"),
    moment("closed_at"),
    comment="what the newest check of a day that is over found: of meters, charges, transfers, books, seals"
    " and takings",
)

archive = Table(
    "archive",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("financial_year", Integer, nullable=False),
    Column("file", Text, nullable=False),
    Column("relation", Text, nullable=False),
    Column("records", BigInteger, nullable=False),
    Column("nanodollars", Numeric(38, 0), nullable=False),
    Column("digest", LargeBinary, nullable=False),
    moment("archived_at"),
    UniqueConstraint("financial_year", "relation", "file"),
    comment="append-only: what was removed after its retention, and the proof of what it was",
)

carried_forward = Table(
    "carried_forward",
    metadata,
    Column("ledger_account_id", ForeignKey("ledger_account.id"), primary_key=True),
    Column("financial_year", Integer, primary_key=True),
    Column("nanodollars", Numeric(38, 0), nullable=False),
    comment="append-only: credits less debits of a ledger account, of archived transfers of a year",
)

APPEND_ONLY = ("transfer", "usage", "rate", "rate_withdrawal", "audit", "day_seal", "archive", "carried_forward")
