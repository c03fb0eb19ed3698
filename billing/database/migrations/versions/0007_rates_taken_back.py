"""Rates that were announced and taken back (billing/prices/rates.py): their moment is free for another version."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

WITHDRAWALS = """
CREATE TABLE rate_withdrawal (
    rate_id bigint CONSTRAINT pk_rate_withdrawal PRIMARY KEY,
    at timestamptz NOT NULL
);
COMMENT ON TABLE rate_withdrawal IS
    'append-only: a rate that was announced and taken back before it took effect; who and why is in audit';
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON rate_withdrawal
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

ALTER TABLE rate DROP CONSTRAINT uq_rate_model_account_id_effective_at;
CREATE INDEX ix_rate_model_account_id_effective_at ON rate (model, account_id, effective_at);
"""


def upgrade() -> None:
    for statement in WITHDRAWALS.split(";\n"):
        if statement.strip():
            op.execute(statement)
