"""``appliance books``, on a real database."""

import csv
import io
import json
import stat
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner, Result

from appliance import secrets
from appliance.cli import app


@pytest.fixture
def run(fresh_url: str, tmp_path: Path) -> Any:
    secrets.create(tmp_path / "secrets")
    runner = CliRunner(env={"APPLIANCE_HOME": str(tmp_path), "DATABASE_URL": fresh_url})

    def invoke(*arguments: str) -> Result:
        return runner.invoke(app, ("books", *arguments))

    return invoke


def test_a_rate_is_entered_once(run: Any) -> None:
    entered = run("rate", "2026-11-27", "10.85", "--source", "Norges Bank")
    assert "2026-11-27: one US dollar is 10.85 NOK (Norges Bank)" in entered.output
    assert "has a rate already" in run("rate", "2026-11-27", "10.95", "--source", "x").output
    assert "is no number" in run("rate", "2026-11-26", "ten", "--source", "x").output
    assert run("rate", "2999-11-27", "10.85", "--source", "x").exit_code == 1


def test_a_statement_for_people_programs_and_spreadsheets(run: Any) -> None:
    assert "adds up" in run("statement", "2026-11").output
    document = json.loads(run("statement", "2026", "--json").output)
    assert document["adds_up"]
    assert {"section": "credit", "line": "purchase", "figure": "used", "amount": "0.000000000"} in document[
        "figures"
    ]
    rows = list(csv.DictReader(io.StringIO(run("statement", "2026-11", "--csv").output)))
    assert rows[-1]["amount"] == "yes"
    assert "neither a month" in run("statement", "November").output


def test_the_books_are_written_for_the_accountant_alone(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "books.xml"
    assert "0 vouchers of 2026" in run("export", "--saft", "2026", str(file)).output
    assert ET.fromstring(file.read_text()).tag.endswith("AuditFile")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    table = tmp_path / "books.csv"
    assert run("export", "--csv", "2026", str(table)).exit_code == 0
    assert table.read_text().startswith("voucher,day,journal")
    assert "from now on" not in run("export", "--csv", "2999", str(table)).output, "it is not over"
    past = [run("export", "--csv", "2025", str(table)).output for _ in range(2)]
    assert ["These are the books of 2025 from now on" in said for said in past] == [True, False]
    assert "either --saft or --csv" in run("export", "2026", str(file)).output
    assert "cannot be written" in run("export", "--csv", "2026", str(tmp_path / "no" / "books.csv")).output
