"""`appliance backup check`, with programs that answer for pgBackRest and restic."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from appliance.cli import app


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with both; each says what the file of its name with ``.json`` holds."""
    for name in ("pgbackrest", "restic"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\ncat {tmp_path}/{name}.json || {{ echo 'Fatal: no place' >&2; exit 1; }}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def check(folder: Path, *more: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["backup", "check", f"--state={folder}", *more])
    return done.exit_code, done.output


def test_the_operator_sees_what_is_fine_and_what_is_not(programs: Path) -> None:
    now = time.time()
    status = {"code": 0, "message": "ok"}
    stanza = {"name": "appliance", "status": status, "backup": [{"timestamp": {"stop": now - 600}}]}
    (programs / "pgbackrest.json").write_text(json.dumps([stanza]))
    (programs / "archive").touch()
    (programs / "drill").touch()
    code, said = check(programs, "--kind=postgresql")
    assert (code, said) == (0, "PostgreSQL: one backup, the newest 10 minutes old.\n")

    code, said = check(programs, f"--textfile={programs / 'metrics.prom'}")
    assert code == 1
    assert said.splitlines()[1] == "Secrets and files: Nothing is known of it: restic: Fatal: no place."
    assert 'appliance_backup_ok{kind="files"} 0' in (programs / "metrics.prom").read_text()

    code, said = check(programs, "--json")
    assert code == 1
    assert [one["kind"] for one in json.loads(said)] == ["postgresql", "files"]


def test_a_program_that_is_not_there_is_a_failure_and_no_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    code, said = check(tmp_path, "--kind=postgresql", "--kind=mongodb", "--kind=files")
    assert code == 1
    assert said.count("No such file or directory") == 3
