"""The mail that waits to be sent."""

from sqlalchemy import BigInteger, Column, DateTime, Identity, Index, Integer, Table, Text

from billing.database.tables import metadata

mail = Table(
    "mail",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("about", BigInteger),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("due_at", DateTime(timezone=True), nullable=False),
    Column("tries", Integer, nullable=False, server_default="0"),
    Index("ix_mail_due_at", "due_at"),
    comment="to be sent, and deleted then; what it says is written when it is sent, so that no link is kept",
)
