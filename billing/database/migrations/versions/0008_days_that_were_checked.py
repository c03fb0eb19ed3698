"""What the check of each day found (billing.statements.closing.py)."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

CLOSING = """
CREATE TABLE closing (
    day date CONSTRAINT pk_closing PRIMARY KEY,
    requests bigint NOT NULL,
    differences bigint NOT NULL,
    discrepancies bigint NOT NULL,
    broken_seals bigint NOT NULL,
    closed_at timestamptz NOT NULL
);
COMMENT ON TABLE closing IS
    'what the newest check of a day that is over found: of meters, charges, transfers, books and seals';
"""


def upgrade() -> None:
    for statement in CLOSING.split(";\n"):
        if statement.strip():
            op.execute(statement)
