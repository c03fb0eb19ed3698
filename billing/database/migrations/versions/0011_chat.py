"""The chat: what it knows a person by, its key of an account, who is signed on, and what signs that."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

CHAT = """
ALTER TABLE person
    ADD COLUMN subject uuid DEFAULT gen_random_uuid() NOT NULL,
    ADD CONSTRAINT uq_person_subject UNIQUE (subject);
COMMENT ON TABLE person IS
    'email is what is written to, email_key what is compared, wanted_email not confirmed yet; password is an Argon2id hash; subject is what other programs know the person by';
CREATE UNIQUE INDEX uq_api_key_chat ON api_key (account_id) WHERE purpose = 'chat';
COMMENT ON TABLE api_key IS
    'of an account''s own playground there is one, with a new digest each time, and one of its chat, without a text: its digest is made of the subject';
"""

SIGN_ON = """
CREATE TABLE openid_grant (
    id UUID NOT NULL,
    session_id BIGINT NOT NULL,
    account_id BIGINT NOT NULL,
    digest BYTEA NOT NULL,
    challenge TEXT NOT NULL,
    nonce TEXT,
    scope TEXT NOT NULL,
    generation INTEGER DEFAULT '0' NOT NULL,
    created_at timestamptz NOT NULL,
    renewed_at timestamptz,
    CONSTRAINT pk_openid_grant PRIMARY KEY (id),
    CONSTRAINT fk_openid_grant_session_id FOREIGN KEY(session_id) REFERENCES session (id) ON DELETE CASCADE,
    CONSTRAINT fk_openid_grant_account_id FOREIGN KEY(account_id) REFERENCES person (account_id) ON DELETE CASCADE,
    CONSTRAINT uq_openid_grant_digest UNIQUE (digest)
);
CREATE INDEX ix_openid_grant_session_id ON openid_grant (session_id);
CREATE INDEX ix_openid_grant_account_id ON openid_grant (account_id);
CREATE INDEX ix_openid_grant_waiting ON openid_grant (created_at) WHERE generation = 0;
COMMENT ON TABLE openid_grant IS
    'the chat is signed on by a session of the site, and ends with it; digest is of the code, generation of the refresh token that is good, 0 until the code is used';

CREATE TABLE openid_key (
    id TEXT NOT NULL,
    sealed BYTEA NOT NULL,
    signs_from timestamptz NOT NULL,
    signs_until timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    CONSTRAINT pk_openid_key PRIMARY KEY (id)
);
CREATE UNIQUE INDEX uq_openid_key_signs_from ON openid_key (signs_from);
COMMENT ON TABLE openid_key IS
    'signs tokens, encrypted with a key that is not here; published from when it is made until it ends';
"""


def upgrade() -> None:
    for statement in (CHAT + SIGN_ON).split(";\n"):
        if statement.strip():
            op.execute(statement)
