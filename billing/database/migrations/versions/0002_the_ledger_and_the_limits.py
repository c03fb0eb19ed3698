"""Ends of lots, receivables, limits and budgets, negotiated rates, audit, notices, seals; usage by month."""

from datetime import UTC, datetime

from alembic import op

from billing.database.partitions import partition_statements

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ACCOUNTS = """
ALTER TABLE account
    ADD owed_nanodollars bigint DEFAULT 0 NOT NULL,
    ADD credit_limit_nanodollars bigint,
    ADD budget_nanodollars bigint,
    ADD month integer DEFAULT 0 NOT NULL,
    ADD month_spent_nanodollars bigint DEFAULT 0 NOT NULL,
    ADD sweep_at timestamptz,
    ADD stops_until timestamptz,
    ADD limited_keys boolean DEFAULT false NOT NULL,
    ADD negotiated boolean DEFAULT false NOT NULL,
    ADD priority integer DEFAULT 0 NOT NULL,
    ADD billing_address text,
    ADD status_before text,
    ADD delete_at timestamptz,
    DROP CONSTRAINT ck_account_status,
    DROP CONSTRAINT ck_account_no_overdraft,
    DROP CONSTRAINT ck_account_concurrent_requests,
    DROP CONSTRAINT ck_account_open_holds,
    DROP CONSTRAINT ck_account_requests_per_minute,
    DROP CONSTRAINT ck_account_tokens_per_minute,
    ADD CONSTRAINT ck_account_limits
        CHECK (least(requests_per_minute, tokens_per_minute, concurrent_requests, budget_nanodollars) > 0),
    ADD CONSTRAINT ck_account_used CHECK (least(held_nanodollars, open_holds, month_spent_nanodollars) >= 0),
    ADD CONSTRAINT ck_account_status
        CHECK (status IN ('active', 'suspended', 'terminated', 'deleting', 'deleted')),
    ADD CONSTRAINT ck_account_no_overdraft
        CHECK (balance_nanodollars >= 0
               AND (held_nanodollars <= balance_nanodollars OR credit_limit_nanodollars IS NOT NULL)),
    ADD CONSTRAINT ck_account_owed CHECK (least(owed_nanodollars, credit_limit_nanodollars) >= 0),
    ADD CONSTRAINT ck_account_delete_at CHECK ((status IN ('deleting', 'deleted')) = (delete_at IS NOT NULL)),
    SET (fillfactor = 50);
CREATE INDEX ix_account_sweep_at ON account (sweep_at) WHERE sweep_at IS NOT NULL;
COMMENT ON TABLE account IS
    'sweep_at: the earliest end of a lot that holds credit; stops_until: until then only allowances pay';

CREATE TABLE key_limit (
    key_id bigint CONSTRAINT pk_key_limit PRIMARY KEY CONSTRAINT fk_key_limit_key_id REFERENCES api_key (id),
    requests_per_minute integer,
    tokens_per_minute integer,
    concurrent_requests integer,
    budget_nanodollars bigint,
    held_nanodollars bigint DEFAULT 0 NOT NULL,
    open_holds integer DEFAULT 0 NOT NULL,
    month integer DEFAULT 0 NOT NULL,
    month_spent_nanodollars bigint DEFAULT 0 NOT NULL,
    requests_tat timestamptz,
    tokens_tat timestamptz,
    CONSTRAINT ck_key_limit_limits
        CHECK (least(requests_per_minute, tokens_per_minute, concurrent_requests, budget_nanodollars) > 0),
    CONSTRAINT ck_key_limit_used CHECK (least(held_nanodollars, open_holds, month_spent_nanodollars) >= 0)
) WITH (fillfactor = 50);
COMMENT ON TABLE key_limit IS
    'a row only for keys with limits of their own; account.limited_keys says whether there are any';
"""

RATES = """
ALTER TABLE rate
    ADD account_id bigint CONSTRAINT fk_rate_account_id REFERENCES account (id),
    ADD ends_at timestamptz,
    ADD announced_at timestamptz,
    ADD request bigint DEFAULT 0 NOT NULL,
    ADD image bigint DEFAULT 0 NOT NULL,
    ADD audio_second bigint DEFAULT 0 NOT NULL;
ALTER TABLE rate DISABLE TRIGGER append_only;
UPDATE rate SET announced_at = effective_at;
ALTER TABLE rate ENABLE TRIGGER append_only;
ALTER TABLE rate
    ALTER announced_at SET NOT NULL,
    DROP CONSTRAINT uq_rate_model_effective_at,
    ADD CONSTRAINT uq_rate_model_account_id_effective_at
        UNIQUE NULLS NOT DISTINCT (model, account_id, effective_at),
    DROP CONSTRAINT ck_rate_not_negative,
    ADD CONSTRAINT ck_rate_not_negative
        CHECK (least(input, cached_input, output, request, image, audio_second) >= 0),
    ADD CONSTRAINT ck_rate_only_negotiated_ends CHECK (ends_at IS NULL OR account_id IS NOT NULL);
COMMENT ON TABLE rate IS
    'append-only; micro-dollars per million tokens, nano-dollars per request, image, second of audio; account_id is whose negotiated rate it is';
"""

LOTS = """
ALTER TABLE ledger_account
    DROP CONSTRAINT ck_ledger_account_kind,
    DROP CONSTRAINT ck_ledger_account_lot_has_owner,
    ADD CONSTRAINT ck_ledger_account_kind
        CHECK (kind IN ('lot', 'receivable', 'payments', 'grants', 'plans', 'revenue', 'expired', 'forfeited',
                        'disputed', 'written_off')),
    ADD CONSTRAINT ck_ledger_account_has_owner
        CHECK ((kind IN ('lot', 'receivable')) = (account_id IS NOT NULL));
CREATE UNIQUE INDEX uq_ledger_account_receivable ON ledger_account (account_id) WHERE kind = 'receivable';
INSERT INTO ledger_account (kind) VALUES ('plans'), ('expired'), ('forfeited'), ('disputed'), ('written_off');

ALTER TABLE lot
    ADD cause uuid DEFAULT gen_random_uuid() NOT NULL CONSTRAINT uq_lot_cause UNIQUE,
    ADD expires_at timestamptz,
    ADD frozen_nanodollars bigint DEFAULT 0 NOT NULL,
    ADD ends_at timestamptz,
    ADD end_kind text DEFAULT 'expiry' NOT NULL,
    ADD open boolean DEFAULT true NOT NULL;
UPDATE lot SET expires_at = acquired_at + interval '1 year', ends_at = acquired_at + interval '1 year',
    open = remaining_nanodollars > 0;
ALTER TABLE lot
    ALTER cause DROP DEFAULT,
    ALTER expires_at SET NOT NULL,
    ALTER ends_at SET NOT NULL,
    ALTER end_kind DROP DEFAULT,
    DROP CONSTRAINT ck_lot_source,
    DROP CONSTRAINT ck_lot_remaining,
    ADD CONSTRAINT ck_lot_source CHECK (source IN ('purchase', 'grant', 'allowance')),
    ADD CONSTRAINT ck_lot_end_kind
        CHECK (end_kind IN ('expiry', 'forfeiture', 'dispute', 'chargeback', 'refund')),
    ADD CONSTRAINT ck_lot_remaining
        CHECK (0 <= remaining_nanodollars AND 0 <= frozen_nanodollars
               AND remaining_nanodollars + frozen_nanodollars <= amount_nanodollars),
    ADD CONSTRAINT ck_lot_frozen CHECK (frozen_nanodollars = 0 OR end_kind = 'dispute'),
    ADD CONSTRAINT ck_lot_open CHECK (open = (remaining_nanodollars > 0)),
    SET (fillfactor = 50);
DROP INDEX ix_lot_open;
CREATE INDEX ix_lot_open ON lot (account_id) WHERE open;
COMMENT ON TABLE lot IS
    'cause makes the operation that opened it idempotent; `open` keeps the index out of every update';
UPDATE account SET sweep_at = l.ends_at
FROM (SELECT account_id, min(ends_at) AS ends_at FROM lot WHERE open GROUP BY account_id) l
WHERE l.account_id = account.id;
"""

TRANSFERS = """
ALTER TABLE transfer RENAME TO old_transfer;
CREATE TABLE transfer (
    cause uuid NOT NULL,
    debit_id bigint NOT NULL,
    credit_id bigint NOT NULL,
    amount_nanodollars bigint NOT NULL,
    kind text NOT NULL,
    created_at timestamptz NOT NULL
);
INSERT INTO transfer
SELECT coalesce(t.request_id, l.cause, gen_random_uuid()), debit_id, credit_id, t.amount_nanodollars, kind, created_at
FROM old_transfer t LEFT JOIN lot l ON l.id = t.credit_id ORDER BY t.id;
DROP TABLE old_transfer;
ALTER TABLE transfer
    ADD CONSTRAINT pk_transfer PRIMARY KEY (cause, debit_id),
    ADD CONSTRAINT ck_transfer_positive CHECK (amount_nanodollars > 0),
    ADD CONSTRAINT ck_transfer_two_sides CHECK (debit_id <> credit_id),
    ADD CONSTRAINT ck_transfer_kind
        CHECK (kind IN ('purchase', 'grant', 'allowance', 'usage', 'postpaid', 'expiry', 'forfeiture', 'refund',
                        'freeze', 'release', 'chargeback', 'shortfall', 'payment', 'write_off'));
CREATE INDEX ix_transfer_created_at ON transfer USING brin (created_at);
COMMENT ON TABLE transfer IS
    'append-only double entry: amount moves from the debit to the credit side; cause is the request of a usage or postpaid transfer, else the operation';

DROP INDEX ix_hold_account_id;
"""

USAGE = """
ALTER TABLE usage RENAME TO old_usage;
ALTER TABLE old_usage RENAME CONSTRAINT pk_usage TO pk_old_usage;
ALTER INDEX ix_usage_account_id_request_id RENAME TO ix_old_usage;
CREATE TABLE usage (
    request_id uuid CONSTRAINT pk_usage PRIMARY KEY,
    account_id bigint NOT NULL,
    key_id bigint NOT NULL,
    rate_id bigint NOT NULL,
    model text NOT NULL,
    endpoint text NOT NULL,
    prompt_tokens bigint NOT NULL,
    cached_tokens bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    images integer DEFAULT 0 NOT NULL,
    audio_seconds integer DEFAULT 0 NOT NULL,
    cost_nanodollars bigint NOT NULL,
    ended text NOT NULL,
    created_at timestamptz NOT NULL,
    settled_at timestamptz NOT NULL,
    CONSTRAINT ck_usage_cost CHECK (cost_nanodollars >= 0),
    CONSTRAINT ck_usage_cached CHECK (0 <= cached_tokens AND cached_tokens <= prompt_tokens),
    CONSTRAINT ck_usage_counts CHECK (least(completion_tokens, images, audio_seconds) >= 0)
) PARTITION BY RANGE (request_id);
CREATE INDEX ix_usage_account_id_request_id ON usage (account_id, request_id);
CREATE INDEX ix_usage_settled_at ON usage USING brin (settled_at);
COMMENT ON TABLE usage IS
    'one row per resolved request; no content; request ids are UUIDv7, so their order is time''s, and a partition is a month (billing/database/partitions.py)';
"""

OLD_USAGE = """
UPDATE account
SET month = 12 * extract(year FROM now() AT TIME ZONE 'UTC') + extract(month FROM now() AT TIME ZONE 'UTC') - 1,
    month_spent_nanodollars = coalesce((
        SELECT sum(cost_nanodollars) FROM old_usage u
        WHERE u.account_id = account.id
          AND u.created_at >= date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'
    ), 0);
INSERT INTO usage (request_id, account_id, key_id, rate_id, model, endpoint, prompt_tokens, cached_tokens,
                   completion_tokens, cost_nanodollars, ended, created_at, settled_at)
SELECT request_id, account_id, key_id, rate_id, model, endpoint, prompt_tokens, cached_tokens, completion_tokens,
       cost_nanodollars, ended, created_at, settled_at
FROM old_usage ORDER BY request_id;
DROP TABLE old_usage;
"""

RECORDS = """
CREATE TABLE audit (
    id bigint GENERATED BY DEFAULT AS IDENTITY CONSTRAINT pk_audit PRIMARY KEY,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    account_id bigint,
    subject text NOT NULL,
    reason text NOT NULL
);
CREATE INDEX ix_audit_account_id ON audit (account_id);
COMMENT ON TABLE audit IS 'append-only: who did what, to whom, why and when; no content and no secret';

CREATE TABLE notice (
    id bigint GENERATED BY DEFAULT AS IDENTITY CONSTRAINT pk_notice PRIMARY KEY,
    created_at timestamptz NOT NULL,
    kind text NOT NULL,
    account_id bigint,
    subject text NOT NULL,
    body jsonb NOT NULL,
    sent_at timestamptz,
    CONSTRAINT uq_notice_kind_account_id_subject UNIQUE NULLS NOT DISTINCT (kind, account_id, subject)
);
CREATE INDEX ix_notice_unsent ON notice (id) WHERE sent_at IS NULL;
COMMENT ON TABLE notice IS 'queued for mail, each once; account_id is null for everybody';

CREATE TABLE day_seal (
    day date CONSTRAINT pk_day_seal PRIMARY KEY,
    records bigint NOT NULL,
    digests jsonb NOT NULL,
    digest bytea NOT NULL,
    sealed_at timestamptz NOT NULL
);
COMMENT ON TABLE day_seal IS 'append-only: SHA-256 over the day''s records and the day before';

CREATE TABLE archive (
    id bigint GENERATED BY DEFAULT AS IDENTITY CONSTRAINT pk_archive PRIMARY KEY,
    financial_year integer NOT NULL,
    file text NOT NULL,
    relation text NOT NULL,
    records bigint NOT NULL,
    nanodollars numeric(38, 0) NOT NULL,
    digest bytea NOT NULL,
    archived_at timestamptz NOT NULL,
    CONSTRAINT uq_archive_financial_year_relation_file UNIQUE (financial_year, relation, file)
);
COMMENT ON TABLE archive IS 'append-only: what was removed after its retention, and the proof of what it was';

CREATE TABLE carried_forward (
    ledger_account_id bigint NOT NULL CONSTRAINT fk_carried_forward_ledger_account_id REFERENCES ledger_account (id),
    financial_year integer NOT NULL,
    nanodollars numeric(38, 0) NOT NULL,
    CONSTRAINT pk_carried_forward PRIMARY KEY (ledger_account_id, financial_year)
);
COMMENT ON TABLE carried_forward IS
    'append-only: credits less debits of a ledger account, of archived transfers of a year';
"""

APPEND_ONLY = ("transfer", "usage", "audit", "day_seal", "archive", "carried_forward")


def upgrade() -> None:
    """What 0001 kept is kept; a lot that was there ends a year after it was acquired."""
    for statements in (ACCOUNTS, RATES, LOTS, TRANSFERS, USAGE):
        _run(statements)
    for statement in partition_statements(datetime.now(UTC)):
        op.execute(statement)
    _run(OLD_USAGE)
    _run(RECORDS)
    # Archiving (billing/proof/archive.py) is the only thing that removes a record, and says so in its transaction.
    op.execute(
        """
        CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'DELETE' AND current_setting('appliance.archiving', true) = 'on' THEN RETURN NULL; END IF;
            RAISE EXCEPTION 'table % is append-only', TG_TABLE_NAME;
        END $$
        """
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )


def _run(statements: str) -> None:
    for statement in statements.split(";\n"):
        if statement.strip():
            op.execute(statement)
