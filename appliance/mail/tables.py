"""The mail that waits to be sent."""

from sqlalchemy import BigInteger, Boolean, Column, Identity, Index, Integer, Table, Text

from billing.database.tables import metadata, moment

mail = Table(
    "mail",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("about", BigInteger),
    moment("created_at"),
    moment("due_at"),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("bulk", Boolean, nullable=False, server_default="false"),
    Index("ix_mail_bulk_due_at", "bulk", "due_at"),
    comment="to be sent, and deleted then; what it says is written when it is sent, so that no link is kept;"
    " bulk waits for the rest",
)
