"""The first tables: accounts, keys, rates, lots, the ledger, holds and usage."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

HOUSE_ACCOUNTS = ("payments", "grants", "revenue")
APPEND_ONLY = ("transfer", "usage", "rate")


def upgrade() -> None:
    """Create them, the house's ledger accounts, and the guard of what is append-only."""
    op.create_table(
        "account",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("balance_nanodollars", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("held_nanodollars", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("open_holds", sa.Integer(), server_default="0", nullable=False),
        sa.Column("requests_per_minute", sa.Integer(), nullable=True),
        sa.Column("tokens_per_minute", sa.Integer(), nullable=True),
        sa.Column("concurrent_requests", sa.Integer(), nullable=True),
        sa.Column("requests_tat", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tokens_tat", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("role IN ('operator', 'customer')", name=op.f("ck_account_role")),
        sa.CheckConstraint("status IN ('active', 'suspended')", name=op.f("ck_account_status")),
        sa.CheckConstraint(
            "0 <= held_nanodollars AND held_nanodollars <= balance_nanodollars",
            name=op.f("ck_account_no_overdraft"),
        ),
        sa.CheckConstraint("concurrent_requests > 0", name=op.f("ck_account_concurrent_requests")),
        sa.CheckConstraint("open_holds >= 0", name=op.f("ck_account_open_holds")),
        sa.CheckConstraint("requests_per_minute > 0", name=op.f("ck_account_requests_per_minute")),
        sa.CheckConstraint("tokens_per_minute > 0", name=op.f("ck_account_tokens_per_minute")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account")),
        sa.UniqueConstraint("name", name=op.f("uq_account_name")),
    )
    op.create_table(
        "hold",
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("key_id", sa.BigInteger(), nullable=False),
        sa.Column("rate_id", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("amount_nanodollars", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("amount_nanodollars >= 0", name=op.f("ck_hold_amount")),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_hold")),
        comment="one row per admitted, unresolved request; resolving deletes it and writes its usage row",
    )
    op.create_index(op.f("ix_hold_account_id"), "hold", ["account_id"], unique=False)
    op.create_table(
        "rate",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("effective_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("input", sa.BigInteger(), nullable=False),
        sa.Column("cached_input", sa.BigInteger(), nullable=False),
        sa.Column("output", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("input >= 0 AND cached_input >= 0 AND output >= 0", name=op.f("ck_rate_not_negative")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rate")),
        sa.UniqueConstraint("model", "effective_at", name=op.f("uq_rate_model_effective_at")),
        comment="micro-dollars per million tokens",
    )
    op.create_table(
        "transfer",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("debit_id", sa.BigInteger(), nullable=False),
        sa.Column("credit_id", sa.BigInteger(), nullable=False),
        sa.Column("amount_nanodollars", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(kind = 'usage') = (request_id IS NOT NULL)", name=op.f("ck_transfer_usage_has_request")
        ),
        sa.CheckConstraint("kind IN ('purchase', 'grant', 'usage')", name=op.f("ck_transfer_kind")),
        sa.CheckConstraint("amount_nanodollars > 0", name=op.f("ck_transfer_positive")),
        sa.CheckConstraint("debit_id <> credit_id", name=op.f("ck_transfer_two_sides")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transfer")),
        sa.UniqueConstraint("request_id", "debit_id", name=op.f("uq_transfer_request_id_debit_id")),
        comment="append-only double entry: amount moves from the debit to the credit side",
    )
    op.create_table(
        "usage",
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("key_id", sa.BigInteger(), nullable=False),
        sa.Column("rate_id", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_nanodollars", sa.BigInteger(), nullable=False),
        sa.Column("ended", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("0 <= cached_tokens AND cached_tokens <= prompt_tokens", name=op.f("ck_usage_cached")),
        sa.CheckConstraint("completion_tokens >= 0", name=op.f("ck_usage_completion")),
        sa.CheckConstraint("cost_nanodollars >= 0", name=op.f("ck_usage_cost")),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_usage")),
        comment="one row per resolved request; no content; request ids are UUIDv7, so their order is time's",
    )
    op.create_index("ix_usage_account_id_request_id", "usage", ["account_id", "request_id"], unique=False)
    op.create_table(
        "api_key",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_api_key_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_key")),
        sa.UniqueConstraint("digest", name=op.f("uq_api_key_digest")),
    )
    op.create_index(op.f("ix_api_key_account_id"), "api_key", ["account_id"], unique=False)
    op.create_table(
        "ledger_account",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "(kind = 'lot') = (account_id IS NOT NULL)", name=op.f("ck_ledger_account_lot_has_owner")
        ),
        sa.CheckConstraint(
            "kind IN ('lot', 'payments', 'grants', 'revenue')", name=op.f("ck_ledger_account_kind")
        ),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_ledger_account_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_account")),
    )
    op.create_index(
        "uq_ledger_account_house",
        "ledger_account",
        ["kind"],
        unique=True,
        postgresql_where=sa.text("account_id IS NULL"),
    )
    op.create_table(
        "lot",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("acquired_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("amount_nanodollars", sa.BigInteger(), nullable=False),
        sa.Column("remaining_nanodollars", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("source IN ('purchase', 'grant')", name=op.f("ck_lot_source")),
        sa.CheckConstraint(
            "0 <= remaining_nanodollars AND remaining_nanodollars <= amount_nanodollars",
            name=op.f("ck_lot_remaining"),
        ),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_lot_account_id")),
        sa.ForeignKeyConstraint(["id"], ["ledger_account.id"], name=op.f("fk_lot_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lot")),
    )
    op.create_index(
        "ix_lot_open",
        "lot",
        ["account_id", "acquired_at", "id"],
        unique=False,
        postgresql_where=sa.text("remaining_nanodollars > 0"),
    )

    op.execute("INSERT INTO ledger_account (kind) VALUES " + ", ".join(f"('{kind}')" for kind in HOUSE_ACCOUNTS))
    op.execute(
        """
        CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'table % is append-only', TG_TABLE_NAME; END $$
        """
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
