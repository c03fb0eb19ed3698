"""The chat: a person's name that is not theirs, and the key of what an account asks there."""

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


def upgrade() -> None:
    for statement in CHAT.split(";\n"):
        if statement.strip():
            op.execute(statement)
