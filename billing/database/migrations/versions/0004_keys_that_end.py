"""Keys that end by themselves, and the one of an account's own pages."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

KEYS = """
ALTER TABLE api_key ADD COLUMN expires_at timestamptz;
ALTER TABLE api_key ADD COLUMN purpose text DEFAULT 'program' NOT NULL;
CREATE UNIQUE INDEX uq_api_key_playground ON api_key (account_id) WHERE purpose = 'playground';
COMMENT ON TABLE api_key IS 'of an account''s own playground there is one, with a new digest each time';
"""


def upgrade() -> None:
    for statement in KEYS.split(";\n"):
        if statement.strip():
            op.execute(statement)
