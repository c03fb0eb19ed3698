"""What is kept of a sign-on: a grant for each, and the keys that sign. No token is kept, of a code its digest."""

from sqlalchemy import Column, ForeignKey, Index, Integer, LargeBinary, Table, Text, Uuid, text

from billing.database.tables import metadata, moment

openid_grant = Table(
    "openid_grant",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("session_id", ForeignKey("session.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("account_id", ForeignKey("person.account_id", ondelete="CASCADE"), nullable=False, index=True),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("challenge", Text, nullable=False),
    Column("nonce", Text),
    Column("scope", Text, nullable=False),
    Column("generation", Integer, nullable=False, server_default="0"),
    moment("created_at"),
    moment("renewed_at", nullable=True),
    Index("ix_openid_grant_waiting", "created_at", postgresql_where=text("generation = 0")),
    comment="the chat is signed on by a session of the site, and ends with it; digest is of the code, generation"
    " of the refresh token that is good, 0 until the code is used",
)

openid_key = Table(
    "openid_key",
    metadata,
    Column("id", Text, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    moment("signs_from"),
    moment("signs_until"),
    moment("ends_at"),
    Index("uq_openid_key_signs_from", "signs_from", unique=True),
    comment="signs tokens, encrypted with a key that is not here; published from when it is made until it ends",
)
