"""Where keys are used from, for a set time; and what was found strange in it, until an operator has looked."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from billing.database.tables import metadata, moment

sighting = Table(
    "sighting",
    metadata,
    Column("key_id", ForeignKey("api_key.id"), primary_key=True),
    Column("network", Text, primary_key=True),
    Column("hour", DateTime(timezone=True), primary_key=True),
    Column("account_id", ForeignKey("account.id"), nullable=False, index=True),
    Column("requests", BigInteger, nullable=False),
    Column("refused", BigInteger, nullable=False),
    Index("ix_sighting_hour", "hour"),
    comment="how many requests a key made from a network within an hour; network is an address cut short;"
    " requests counts those that were refused too",
)

finding = Table(
    "finding",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("account_id", ForeignKey("account.id"), nullable=False, index=True),
    Column("signal", Text, nullable=False),
    Column("evidence", JSONB, nullable=False),
    moment("first_seen_at"),
    moment("last_seen_at"),
    Column("to_suspend", Boolean, nullable=False),
    moment("closed_at", nullable=True),
    Column("outcome", Text),
    CheckConstraint("signal IN ('networks', 'refused', 'travel')", name="signal"),
    CheckConstraint("outcome IN ('harmless', 'dealt_with')", name="outcome"),
    CheckConstraint("(closed_at IS NULL) = (outcome IS NULL)", name="closed"),
    Index("uq_finding_open", "account_id", "signal", unique=True, postgresql_where=text("closed_at IS NULL")),
    comment="of each signal an account has one that is open; to_suspend until the account is suspended for it",
)
