"""What is kept of a person, besides the account: as little as signing in needs, and it ends with the account.

Of what opens a door only a digest is here: a stolen dump lets nobody in.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    Table,
    Text,
    Uuid,
    text,
)

from billing.database.tables import metadata, moment

person = Table(
    "person",
    metadata,
    Column("account_id", ForeignKey("account.id"), primary_key=True),
    Column("name", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("email_key", Text, nullable=False, unique=True),
    Column("password", Text),
    moment("password_at", nullable=True),
    Column("wanted_email", Text),
    Column("language", Text, nullable=False),
    moment("created_at"),
    Column("subject", Uuid, nullable=False, unique=True, server_default=text("gen_random_uuid()")),
    CheckConstraint("(password IS NULL) = (password_at IS NULL)", name="password_at"),
    comment="email is what is written to, email_key what is compared, wanted_email not confirmed yet;"
    " password is an Argon2id hash; subject is what other programs know the person by",
)

applicant = Table(
    "applicant",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("name", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("email_key", Text, nullable=False),
    Column("password", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("terms", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("browser", LargeBinary, nullable=False),
    Column("link", LargeBinary, unique=True),
    moment("created_at"),
    moment("expires_at"),
    Index("ix_applicant_expires_at", "expires_at"),
    comment="signed up, and the email is not confirmed: there is no account yet; link and browser are digests",
)

invitation = Table(
    "invitation",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("email", Text, nullable=False),
    Column("email_key", Text, nullable=False, unique=True),
    Column("link", LargeBinary, unique=True),
    moment("created_at"),
    moment("expires_at"),
    Index("ix_invitation_expires_at", "expires_at"),
    comment="who may sign up where not everybody may; link is a digest",
)

acceptance = Table(
    "acceptance",
    metadata,
    Column("account_id", ForeignKey("person.account_id", ondelete="CASCADE"), primary_key=True),
    Column("terms", Text, primary_key=True),
    moment("accepted_at"),
    Column("address", Text, nullable=False),
    comment="which version of the terms somebody accepted, when, and from which address",
)

link = Table(
    "link",
    metadata,
    Column("account_id", ForeignKey("person.account_id", ondelete="CASCADE"), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("email", Text, nullable=False),
    moment("expires_at"),
    Index("ix_link_expires_at", "expires_at"),
    comment="the newest of each kind that was mailed to somebody, until it is used",
)

session = Table(
    "session",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("account_id", ForeignKey("person.account_id", ondelete="CASCADE"), nullable=False, index=True),
    moment("created_at"),
    moment("seen_at"),
    moment("ends_at"),
    Column("network", Text, nullable=False),
    Column("browser", Text, nullable=False),
    Column("incomplete", Boolean, nullable=False, server_default="false"),
    Index("ix_session_ends_at", "ends_at"),
    comment="a browser that is signed in; network is its address cut short, browser how it calls itself;"
    " incomplete until the second factor is given",
)

authenticator = Table(
    "authenticator",
    metadata,
    Column("account_id", ForeignKey("person.account_id", ondelete="CASCADE"), primary_key=True),
    Column("secret", LargeBinary),
    Column("wanted", LargeBinary),
    Column("last_step", BigInteger, nullable=False, server_default="0"),
    comment="the second factor, encrypted with a key that is not here; wanted is one that no code was given of"
    " yet; last_step is the last of 30 seconds since 1970 of which a code was used",
)

passkey = Table(
    "passkey",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("account_id", ForeignKey("person.account_id", ondelete="CASCADE"), nullable=False, index=True),
    Column("credential", LargeBinary, nullable=False, unique=True),
    Column("public_key", LargeBinary, nullable=False),
    Column("sign_count", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    moment("created_at"),
    moment("used_at", nullable=True),
    comment="of WebAuthn: credential is its id, public_key in COSE's form; sign_count is what it counted last",
)

challenge = Table(
    "challenge",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("session_id", ForeignKey("session.id", ondelete="CASCADE"), index=True),
    Column("adding", Boolean, nullable=False),
    moment("expires_at"),
    Index("ix_challenge_expires_at", "expires_at"),
    prefixes=["UNLOGGED"],
    comment="what a passkey is to sign, once: in a session, or to begin one; adding is for one that is new",
)

recovery_code = Table(
    "recovery_code",
    metadata,
    Column("account_id", ForeignKey("person.account_id", ondelete="CASCADE"), primary_key=True),
    Column("digest", LargeBinary, primary_key=True),
    comment="in place of an authenticator that was lost; deleted when it is used",
)

throttle = Table(
    "throttle",
    metadata,
    Column("key", LargeBinary, primary_key=True),
    moment("full_until"),
    Index("ix_throttle_full_until", "full_until"),
    prefixes=["UNLOGGED"],
    comment="until when something has been asked for in advance; the key is a digest of who asks and for what",
)
