"""What was written to the operator, for as long as it takes to answer it and a set time more."""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Identity, Index, Table, Text, text

from billing.database.tables import metadata, moment

message = Table(
    "message",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("account_id", ForeignKey("person.account_id", ondelete="CASCADE"), index=True),
    Column("appeal", Boolean, nullable=False),
    Column("name", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("company", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("language", Text, nullable=False),
    moment("created_at"),
    moment("closed_at", nullable=True),
    Column("outcome", Text),
    Column("answer", Text),
    Index("ix_message_created_at", "created_at"),
    Index("uq_message_appeal", "account_id", unique=True, postgresql_where=text("appeal AND closed_at IS NULL")),
    comment="account_id is of whoever was signed in; of appeals one at a time is open;"
    " outcome is answered, granted or denied",
)
