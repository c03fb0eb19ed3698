"""The operator's commands, on a real database."""

import asyncio
import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from typer.testing import CliRunner, Result

from appliance import secrets
from appliance.cli import app
from appliance.settings import CONFIGS, load_settings
from billing.clock import system_clock
from billing.customers.keys import is_well_formed
from billing.database.db import Database, execute
from billing.ids import new_id
from billing.ledger.credit import Credit
from billing.plans.versions import publish
from billing.store.postgres import PostgresStore
from serving.metering.journal import FileJournal, meters_directory
from serving.metering.meter import Meter


@pytest.fixture
def run(fresh_url: str, tmp_path: Path) -> Any:
    """Runs a command as an operator would; its process would have its own event loop."""
    secrets.create(tmp_path / "secrets")
    runner = CliRunner(env={"APPLIANCE_HOME": str(tmp_path), "DATABASE_URL": fresh_url})

    def invoke(*arguments: str) -> Result:
        return runner.invoke(app, arguments)

    return invoke


def test_an_account_gets_credit_and_a_key_that_is_shown_once(run: Any) -> None:
    assert run("account", "create", "alice").exit_code == 0
    assert "the balance is $5.25" in run("credit", "grant", "alice", "5.25").output
    key = run("key", "create", "alice").output.strip()
    assert is_well_formed(key)
    (listed,) = json.loads(run("key", "list", "--json").output)
    assert key not in json.dumps(listed)
    assert listed["hint"].endswith(key[-4:])
    (account,) = json.loads(run("account", "list", "--json").output)
    assert account["balance_nanodollars"] == 5_250_000_000
    assert re.search(r"alice .*\$5\.25", run("account", "list").output)
    assert run("key", "revoke", str(listed["id"])).exit_code == 0
    assert json.loads(run("key", "list", "--json").output)[0]["revoked_at"]
    assert "is suspended" in run("account", "suspend", "alice", "--reason", "spam").output
    assert json.loads(run("account", "show", "alice", "--json").output)["status"] == "suspended"
    assert json.loads(run("ledger", "verify", "--json").output) == {
        "balanced": True, "discrepancies": [], "broken_seals": [], "newest_seal": None,
    }  # fmt: skip
    sealed = run("ledger", "verify", "--seal", "--until=2099-01-01T00:00Z").output.splitlines()[-1]
    assert re.fullmatch(
        r"The books until 2099-01-01T00:00:00\+00:00: \d+ records, 2 balances, digest \w{64}", sealed
    )
    books = json.loads(run("ledger", "verify", "--seal", "--until=2099-01-01T01:00+01:00", "--json").output)[
        "books"
    ]
    assert sealed.endswith(books["digest"])
    assert "has no zone" in run("ledger", "verify", "--seal", "--until=2099-01-01").output
    assert json.loads(run("usage", "list", "--json").output) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("account", "show", "nobody"), "there is no account 'nobody'"),
        (("account", "show", "9" * 30), "there is no account"),
        (("account", "create", "alice"), "there is an account named 'alice' already"),
        (("credit", "grant", "alice", "ten"), "'ten' is not an amount in dollars"),
        (("credit", "grant", "alice", "0"), "must be above zero"),
        (("credit", "grant", "alice", "0.0000000001"), "finer than a nano-dollar"),
        (("credit", "grant", "alice", "1000000000"), "an account cannot have more than"),
        (("credit", "forgive", "alice", "1", "--reason", "x"), "owes $0.00 only"),
        (("invoice", "credit", "7", "--reason", "x"), "there is no invoice 7"),
        (("invoice", "credit", "7", "--amount", "0.001", "--reason", "x"), "finer than a cent"),
        (("account", "create", "12"), "not digits alone"),
        (("account", "create", ""), "printable characters"),
        (("key", "revoke", "9" * 30), "PostgreSQL refused this"),
        (("key", "revoke", "77"), "there is no key 77"),
        (("key", "create", "nobody"), "there is no account 'nobody'"),
    ],
)
def test_a_mistake_gets_a_sentence_and_status_1(run: Any, arguments: tuple[str, ...], said: str) -> None:
    run("account", "create", "alice")
    for _ in range(9):
        run("credit", "grant", "alice", "1000000000")
    result = run(*arguments)
    assert result.exit_code == 1
    assert said in result.output
    assert "Traceback" not in result.output


def test_credit_that_a_payment_brought_is_changed_with_its_payment_alone(run: Any, fresh_url: str) -> None:
    run("account", "create", "alice")
    payment = asyncio.run(_buy_credit(fresh_url))
    (lot,) = json.loads(run("credit", "list", "alice", "--json").output)
    for command in (("refund", "--reason", "asked"), ("dispute",), ("won",), ("lost",)):
        refused = run("credit", command[0], str(lot["id"]), *command[1:])
        assert refused.exit_code == 1, command
        assert f"`appliance refund pay {payment}`" in refused.output
    assert json.loads(run("credit", "list", "alice", "--json").output) == [lot]


async def _buy_credit(url: str) -> UUID:
    """Ten dollars, as a payment at Stripe would bring them."""
    database, cause = Database(url), new_id(system_clock())
    lot = await Credit(PostgresStore(database), system_clock).purchase(1, 10**10, "bought", cause)
    statement = (
        "INSERT INTO payment (id, account_id, kind, state, value_nanodollars, net_cents, vat_cents, gross_cents,"
        " vat_code, vat_basis_points, buyer, created_at, paid_at, lot_id)"
        " VALUES ($1, 1, 'credit', 'credited', 10000000000, 1000, 0, 1000, '3', 0, $4, $2, $2, $3)"
    )
    buyer = {"name": "A", "address": "B", "postal_code": "1", "city": "C", "country": "NO", "business": False}
    async with database.begin() as connection:
        await execute(connection, statement, cause, system_clock(), lot.id, json.dumps(buyer))
    await database.close()
    return cause


def test_sessions_are_ended_for_a_reason_that_is_on_record(run: Any) -> None:
    run("account", "create", "alice")
    assert (
        "all sessions of alice have ended" in run("account", "sign-out", "alice", "--reason", "lost phone").output
    )
    assert "0 sessions have ended" in run("account", "sign-out-everybody", "--reason", "a stolen dump").output
    assert "lost phone" in run("account", "audit", "alice").output
    refused = run("account", "sign-out-everybody", "--reason", " ")
    assert (refused.exit_code, refused.output) == (1, "appliance: a reason is needed\n")


def test_usage_is_summed_and_exported(run: Any, tmp_path: Path) -> None:
    run("account", "create", "alice")
    total = json.loads(run("usage", "summary", "--account", "alice", "--json").output)
    assert (total["lines"], total["total"]["requests"], total["total"]["cost"]) == ([], 0, "$0.00")
    assert run("usage", "summary", "--by", "key,endpoint").output.split()[:3] == ["KEY", "ENDPOINT", "REQUESTS"]
    file = tmp_path / "out.parquet"
    said = run("usage", "export", str(file), "--first", "2026-01-01", "--last", "2026-03-31").output
    assert "0 requests for $0.00, 2026-01-01 to 2026-03-31" in said
    assert file.exists()
    assert "must end in .csv" in run("usage", "export", "out.xlsx").output
    assert "--by takes any of" in run("usage", "summary", "--by", "weekday").output
    backwards = run("usage", "summary", "--first", "2026-02-01", "--last", "2026-01-01")
    assert (backwards.exit_code, "before its first day" in backwards.output) == (1, True)


def test_what_was_metered_and_never_charged_ends_reconcile_with_status_1(run: Any, tmp_path: Path) -> None:
    journal = FileJournal(meters_directory(tmp_path, "m"), "replica")
    now = datetime.now(UTC)
    request, yesterdays = new_id(now), new_id(now - timedelta(days=1))
    journal.append(Meter(str(request), 5, 0, 7, "complete"))
    journal.append(Meter(str(yesterdays), 0, 0, 0, "refused"))
    journal.append(Meter(str(yesterdays), 1, 0, 1, "complete"))
    found = run("reconcile", "--day", f"{now:%Y-%m-%d}")
    assert found.exit_code == 1
    assert f"request {request} of m, no account: metered, never charged; tokens metered 5/0/7" in found.output
    assert str(yesterdays) not in found.output
    document = json.loads(run("reconcile", "--json").stdout)
    assert [(one["metered"]["prompt"], one["charged"]) for one in document["differences"]] == [(1, None)]
    quiet = run("reconcile", "--day", "2026-01-01")
    assert (quiet.exit_code, "transfers of 0 requests agree" in quiet.output) == (0, True)


def test_prices_are_announced_negotiated_and_listed(run: Any) -> None:
    run("account", "create", "alice")
    price = ("--input", "0.1", "--cached-input", "0.02", "--output", "0.4")
    assert run("rate", "set", "m", *price).exit_code == 0
    assert "in the past" in run("rate", "schedule", "m", "--on", "2020-01-01", *price).output
    assert run("rate", "schedule", "m", "--on", "2099-01-01", *price, "--image", "0.001").exit_code == 0
    agreed = run(
        "rate", "schedule", "m", "--on", "2098-01-01", *price, "--account", "alice", "--reason", "contract"
    )
    assert "for alice" in agreed.output
    everything = json.loads(run("rate", "list", "--json").output)
    assert [(one["image"], one["account_id"] is None) for one in everything] == [
        (0, True), (1_000_000, True), (0, False),
    ]  # fmt: skip
    assert len(json.loads(run("rate", "list", "--account", "alice", "--json").output)) == 1
    assert "$0.001" in run("rate", "list").output


def test_who_buys_is_kept_and_on_record(run: Any) -> None:
    run("account", "create", "alice")
    words = ("--name", "Alice AS", "--address", "Storgata 1", "--postal-code", "0155", "--city", "Oslo")
    assert "is set" in run("account", "buyer", "alice", *words, "--country", "NO").output
    assert "two letters" in run("account", "buyer", "alice", *words, "--country", "Norway").output
    assert "no country XX" in run("account", "buyer", "alice", *words, "--country", "XX").output
    assert "name" in run("account", "buyer", "alice", *words, "--country", "NO", "--name", " ").output
    actions = [entry["action"] for entry in json.loads(run("account", "audit", "alice", "--json").output)]
    assert actions == ["buyer set"]


def test_a_business_that_buys_without_tax_for_being_one_gives_its_number_by_command_too(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = yaml.safe_load((CONFIGS / "appliance.yaml").read_text())
    document["vat"]["rules"].insert(0, {"country": "SE", "buyer": "business", "percent": "0", "code": "52"})
    (tmp_path / "appliance.yaml").write_text(yaml.safe_dump(document))
    monkeypatch.setenv("APPLIANCE_CONFIG", str(tmp_path / "appliance.yaml"))
    run("account", "create", "alice")
    words = ("--name", "Alice AB", "--address", "Storgatan 1", "--postal-code", "111 22", "--city", "Stockholm")
    swedish = ("account", "buyer", "alice", *words, "--country", "SE")
    assert "its --tax-number is needed" in run(*swedish).output
    assert "its --tax-number is needed" in run(*swedish, "--tax-number", " ").output
    assert "a line of" in run(*swedish, "--tax-number", "SE\x1b[2J").output
    assert "is set" in run(*swedish, "--no-business").output
    assert "is set" in run(*swedish, "--tax-number", " SE556677889901 ").output


def test_no_account_is_made_postpaid_where_stripe_reckons_the_tax(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("account", "create", "alice")
    file = tmp_path / "appliance.yaml"
    file.write_text("vat: {by: stripe}")
    monkeypatch.setenv("APPLIANCE_CONFIG", str(file))
    refused = run("account", "terms", "alice", "--credit-limit", "100", "--reason", "contract")
    assert refused.exit_code == 1
    assert "by the table alone" in refused.output
    assert run("account", "terms", "alice", "--priority", "3", "--reason", "contract").exit_code == 0


def test_standing_and_limits_by_command(run: Any) -> None:
    run("account", "create", "alice")
    run("credit", "grant", "alice", "5")
    assert (
        "postpaid up to $100.00"
        in run(
            "account", "terms", "alice", "--credit-limit", "100", "--priority", "3", "--reason", "contract"
        ).output
    )
    assert run("account", "limit", "alice", "--requests-per-minute", "60", "--budget", "50").exit_code == 0
    for command, status in (
        ("suspend", "suspended"), ("resume", "active"), ("delete", "deleting"), ("restore", "active"),
        ("terminate", "terminated"),
    ):  # fmt: skip
        done = run("account", command, "alice", "--reason", "test")
        assert done.exit_code == 0, done.output
        shown = json.loads(run("account", "show", "alice", "--json").output)
        assert shown["status"] == status
    assert (shown["balance_nanodollars"], shown["priority"], shown["requests_per_minute"]) == (0, 3, 60)
    assert len(json.loads(run("account", "audit", "alice", "--json").output)) == 8
    assert json.loads(run("ledger", "verify", "--json").output)["balanced"]


def test_plans_are_listed_and_a_plan_that_nobody_has_cannot_be_ended(run: Any, fresh_url: str) -> None:
    async def start() -> None:
        database = Database(fresh_url)
        async with database.begin() as connection:
            await publish(connection, load_settings({}).plans, system_clock)
        await database.close()

    asyncio.run(start())
    listed = json.loads(run("plan", "list", "--json").output)
    assert [(one["plan"], one["price"], one["on_offer"]) for one in listed] == [
        ("starter", "$10.00", True), ("fixed", "$25.00", True), ("team", "$50.00", True)
    ]  # fmt: skip
    run("account", "create", "alice")
    assert json.loads(run("subscription", "show", "alice", "--json").output) == []
    for command in (("cancel",), ("end", "--reason", "asked for")):
        refused = run("subscription", command[0], "alice", *command[1:])
        assert (refused.exit_code, "the account has no plan" in refused.output) == (1, True)


def test_a_payment_by_bank_is_noted_on_an_invoice(run: Any) -> None:
    run("account", "create", "alice")
    assert json.loads(run("invoice", "list", "--json").output) == []
    none = run("invoice", "paid", "12", "--on", "2026-01-02")
    assert (none.exit_code, "there is no invoice 12" in none.output) == (1, True)
    too_fine = run("invoice", "paid", "12", "--on", "2026-01-02", "--amount", "1.001")
    assert (too_fine.exit_code, "finer than a cent" in too_fine.output) == (1, True)
    to_come = run("invoice", "paid", "12", "--on", "2999-01-02")
    assert (to_come.exit_code, "not over yet" in to_come.output) == (1, True)


def test_what_was_paid_at_stripe_for_nothing_here_ends_reconcile_with_status_1(run: Any, fresh_url: str) -> None:
    async def pay() -> None:
        database = Database(fresh_url)
        async with database.begin() as connection:
            await execute(
                connection,
                "INSERT INTO stripe_movement (id, kind, source, currency, cents, fee_cents, net_cents, usd_cents,"
                " created_at) VALUES ('txn_1', 'charge', 'ch_1', 'usd', 1234, 66, 1168, 1234, $1)",
                datetime(2026, 1, 2, 12, tzinfo=UTC),
            )  # fmt: skip
        await database.close()

    asyncio.run(pay())
    found = run("reconcile", "--day", "2026-01-02")
    assert (found.exit_code, "Stripe cannot be asked" in found.stderr) == (1, True)
    assert "movement txn_1: paid at Stripe, for no payment of ours; at Stripe $12.34, here $0.00" in found.stdout
    takings = json.loads(run("reconcile", "--day", "2026-01-02", "--json").stdout)["takings"]
    assert [(one["kind"], one["stripe_cents"], one["on_balance"]) for one in takings["groups"]] == [
        ("charge", 1234, [{"currency": "usd", "cents": 1234, "fee_cents": 66}])
    ]
    assert not takings["stripe_asked"]


def test_a_mistyped_command_is_told_which_one_is_meant(run: Any) -> None:
    refused = run("acount", "list")
    assert refused.exit_code == 2
    assert "Did you mean 'account'?" in refused.output


def test_a_service_starts_without_the_commands_that_nobody_asked_for() -> None:
    asked = "import sys, appliance.cli; print(*(name for name in sys.modules if 'appliance.commands.' in name))"
    loaded = subprocess.check_output([sys.executable, "-c", asked], text=True).split()
    assert loaded == ["appliance.commands.session"]
