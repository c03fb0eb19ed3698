"""The tables. Every change of these comes with a migration; a test holds the two together."""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _time(name: str, *, nullable: bool = False) -> Column[datetime]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


account = Table(
    "account",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("role", Text, nullable=False),
    Column("status", Text, nullable=False, server_default="active"),
    _time("created_at"),
    Column("balance_nanodollars", BigInteger, nullable=False, server_default="0"),
    Column("held_nanodollars", BigInteger, nullable=False, server_default="0"),
    Column("open_holds", Integer, nullable=False, server_default="0"),
    Column("requests_per_minute", Integer),
    Column("tokens_per_minute", Integer),
    Column("concurrent_requests", Integer),
    _time("requests_tat", nullable=True),
    _time("tokens_tat", nullable=True),
    CheckConstraint("role IN ('operator', 'customer')", name="role"),
    CheckConstraint("status IN ('active', 'suspended')", name="status"),
    CheckConstraint("0 <= held_nanodollars AND held_nanodollars <= balance_nanodollars", name="no_overdraft"),
    CheckConstraint("open_holds >= 0", name="open_holds"),
    CheckConstraint("requests_per_minute > 0", name="requests_per_minute"),
    CheckConstraint("tokens_per_minute > 0", name="tokens_per_minute"),
    CheckConstraint("concurrent_requests > 0", name="concurrent_requests"),
)

api_key = Table(
    "api_key",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("account_id", ForeignKey("account.id"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("hint", Text, nullable=False),
    _time("created_at"),
    _time("revoked_at", nullable=True),
)

rate = Table(
    "rate",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("model", Text, nullable=False),
    _time("effective_at"),
    Column("input", BigInteger, nullable=False),
    Column("cached_input", BigInteger, nullable=False),
    Column("output", BigInteger, nullable=False),
    UniqueConstraint("model", "effective_at"),
    CheckConstraint("input >= 0 AND cached_input >= 0 AND output >= 0", name="not_negative"),
    comment="micro-dollars per million tokens",
)

ledger_account = Table(
    "ledger_account",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("account_id", ForeignKey("account.id")),
    CheckConstraint("kind IN ('lot', 'payments', 'grants', 'revenue')", name="kind"),
    CheckConstraint("(kind = 'lot') = (account_id IS NOT NULL)", name="lot_has_owner"),
    Index("uq_ledger_account_house", "kind", unique=True, postgresql_where=text("account_id IS NULL")),
)

lot = Table(
    "lot",
    metadata,
    Column("id", ForeignKey("ledger_account.id"), primary_key=True),
    Column("account_id", ForeignKey("account.id"), nullable=False),
    Column("source", Text, nullable=False),
    Column("reason", Text, nullable=False),
    _time("acquired_at"),
    Column("amount_nanodollars", BigInteger, nullable=False),
    Column("remaining_nanodollars", BigInteger, nullable=False),
    CheckConstraint("source IN ('purchase', 'grant')", name="source"),
    CheckConstraint(
        "0 <= remaining_nanodollars AND remaining_nanodollars <= amount_nanodollars", name="remaining"
    ),
    Index("ix_lot_open", "account_id", "acquired_at", "id", postgresql_where=text("remaining_nanodollars > 0")),
)

# The three tables below grow with every request. Their references are not foreign keys: each id was read
# in the transaction that writes it, a check would cost a look-up a column, and `ledger verify` checks them
# all (docs/decisions/0003-references-without-foreign-keys.md).

transfer = Table(
    "transfer",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("debit_id", BigInteger, nullable=False),
    Column("credit_id", BigInteger, nullable=False),
    Column("amount_nanodollars", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("request_id", Uuid),
    _time("created_at"),
    CheckConstraint("amount_nanodollars > 0", name="positive"),
    CheckConstraint("debit_id <> credit_id", name="two_sides"),
    CheckConstraint("kind IN ('purchase', 'grant', 'usage')", name="kind"),
    CheckConstraint("(kind = 'usage') = (request_id IS NOT NULL)", name="usage_has_request"),
    UniqueConstraint("request_id", "debit_id"),
    comment="append-only double entry: amount moves from the debit to the credit side",
)

hold = Table(
    "hold",
    metadata,
    Column("request_id", Uuid, primary_key=True),
    Column("account_id", BigInteger, nullable=False, index=True),
    Column("key_id", BigInteger, nullable=False),
    Column("rate_id", BigInteger, nullable=False),
    Column("model", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("amount_nanodollars", BigInteger, nullable=False),
    _time("created_at"),
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
    Column("cost_nanodollars", BigInteger, nullable=False),
    Column("ended", Text, nullable=False),
    _time("created_at"),
    _time("settled_at"),
    CheckConstraint("cost_nanodollars >= 0", name="cost"),
    CheckConstraint("0 <= cached_tokens AND cached_tokens <= prompt_tokens", name="cached"),
    CheckConstraint("completion_tokens >= 0", name="completion"),
    Index("ix_usage_account_id_request_id", "account_id", "request_id"),
    comment="one row per resolved request; no content; request ids are UUIDv7, so their order is time's",
)
