"""The operator's commands, on a real database."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from appliance import secrets
from appliance.cli import app
from billing.keys import is_well_formed


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
