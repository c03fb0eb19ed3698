"""``make everything``: each command that checks something, one after the other.

``ARGS='clients test-hosts'`` for some, ``ARGS=tests/hosts/story`` for one part, ``ARGS=SYSTEM=ubuntu-24.04`` for
one system. ``docs/quality.md`` then says how each went when it last ran, on which commit, and what it went
through.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.record import VARIABLE, Ordeal, recorded

PAGE = Path("docs/quality.md")
PART = "ARGS="
SYSTEM = "SYSTEM="
UBUNTU = f"{SYSTEM}ubuntu-24.04"
ON_BOTH: Mapping[str, str] = {
    "test_restore": "a lost machine comes back from its backups, and a drill",
    "test_site": "the roles one after the other, the walls, certificates",
    "test_places": "backups at an object store, also after a break-in, and by SFTP",
    "test_postgresql": "PostgreSQL's role, beside another's data",
    "test_monitoring": "Prometheus, the exporters and Alertmanager on a host",
    "test_hosts": "the hosts that tests start, themselves",
}
"""Modules of ``tests/hosts``. Not the story, whose hosts install the engine: where these tests run, its build for
processors is to be had for the Python of Debian 12 alone."""
STEPS: Mapping[str, str] = {
    "lint": "style, types, and the arrows between packages and rooms",
    "test": "all tests, a real engine, PostgreSQL and killed processes among them",
    "test-nodes": "one of three nodes is lost under load",
    "test-postgres": "the tests of the money on PostgreSQL 15, the oldest that it runs on",
    "test-hosts ARGS=tests/hosts/story": "an operator's life: installing, accidents, releases, chat, loss, nodes",
    **{f"test-hosts {PART}tests/hosts/{name}.py": what for name, what in ON_BOTH.items()},
    **{f"test-hosts {UBUNTU} {PART}tests/hosts/{name}.py": what for name, what in ON_BOTH.items()},
    "test-browser": "the site in a real Chromium, over the whole system",
    "fresh": "a fresh clone, `make up`, the README's example: by instruction sets, as a user, on a bare Debian",
    "clients": "other people's clients and suites",
    "soak": "the ledger's decisions against a plain model, for a minute",
    "bench": "what the gateway and the ledger cost",
}
HEAD = """# The last result of everything

Written by `make everything`: what each command said last, when and on which commit. CI runs `make lint` and
`make test` for every change.

| command | what | result | last line | minutes | date | commit |
|---|---|---|---|---|---|---|
"""
RECORD = """
## What it has been through

Counted by the tests themselves (`tests/record.py`), in the last run of each command that did not fail.

| how many | what | command | date | commit |
|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Endured:
    """One row of the record."""

    number: int
    what: Ordeal
    step: str
    date: str
    commit: str

    def as_line(self) -> str:
        return f"| {self.number:,} | {self.what} | `make {self.step}` | {self.date} | {self.commit} |"


@dataclass(frozen=True)
class Row:
    """How one step went."""

    step: str
    result: str
    last_line: str
    minutes: str
    date: str
    commit: str

    def as_line(self) -> str:
        cells = (f"`make {self.step}`", STEPS[self.step], self.result, self.last_line, self.minutes, self.date)
        return f"| {' | '.join(cells)} | {self.commit} |"


def main(wanted: Sequence[str]) -> int:
    steps = chosen(wanted)
    commit = _commit()
    text = PAGE.read_text() if PAGE.exists() else ""
    rows, record = {row.step: row for row in known(text)}, list(known_record(text))
    failed = False
    for step in steps:
        with tempfile.TemporaryDirectory(prefix="appliance-record-") as folder:
            file = Path(folder, "record")
            rows[step] = run(step, commit, file)
            sums = recorded(file)
        if rows[step].result == "passed":
            record = [one for one in record if one.step != step]
            record += [
                Endured(round(sums[what]), what, step, rows[step].date, commit) for what in Ordeal if sums[what]
            ]
        else:
            failed = True
        PAGE.write_text(page(rows, record))
    return int(failed)


def chosen(wanted: Sequence[str]) -> Sequence[str]:
    """The steps of these commands or parts, in the order of STEPS; all for none. SystemExit for an unknown one."""
    names = {step: {step, *step.replace(PART, "").split()} for step in STEPS}
    if unknown := set(wanted).difference(*names.values()):
        raise SystemExit(f"there is no step {', '.join(sorted(unknown))}: {', '.join(STEPS)}")
    return [step for step in STEPS if not wanted or names[step].intersection(wanted)]


def page(rows: Mapping[str, Row], record: Sequence[Endured]) -> str:
    """What has never run is not in it."""
    results = "".join(f"{rows[step].as_line()}\n" for step in STEPS if step in rows)
    order = [(what, step) for what in Ordeal for step in STEPS]
    ordered = sorted(record, key=lambda one: order.index((one.what, one.step)))
    return HEAD + results + (RECORD + "".join(f"{one.as_line()}\n" for one in ordered) if record else "")


def known(text: str) -> Iterator[Row]:
    """The results of an earlier page."""
    for line in text.splitlines():
        if line.startswith("| `make "):
            command, _, result, last_line, minutes, date, commit = _cells(line)
            yield Row(command.strip("`").removeprefix("make "), result, last_line, minutes, date, commit)


def known_record(text: str) -> Iterator[Endured]:
    """The record of an earlier page."""
    for line in text.partition(RECORD)[2].splitlines():
        number, what, command, date, commit = _cells(line)
        step = command.strip("`").removeprefix("make ")
        yield Endured(int(number.replace(",", "")), Ordeal(what), step, date, commit)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def run(step: str, commit: str, record: Path) -> Row:
    """Its lines are printed as they come, and what it goes through is counted in the file ``record``.

    make hands its own ARGS and SYSTEM on unless they are given anew; of two the last counts."""
    began, last = time.monotonic(), ""
    command = ["make", "--no-print-directory", PART, SYSTEM, *step.split()]
    env = {**os.environ, VARIABLE: str(record)}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            sys.stdout.write(f"{step} | {line}")
            sys.stdout.flush()
            last = line.strip() or last
    return Row(
        step=step,
        result="passed" if process.returncode == 0 else "failed",
        last_line=last.replace("|", "/"),
        minutes=f"{(time.monotonic() - began) / 60:.1f}",
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        commit=commit,
    )


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", f":!{PAGE}")
    return git("rev-parse", "--short", "HEAD") + (" with changes" if changed else "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
