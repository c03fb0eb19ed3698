"""``make test``: the tests that need the real engine, and beside them those that do not; one closing line for
all.

Most of them wait more than they compute: for processes to start, for PostgreSQL, for what comes in a second.
With arguments it is plain pytest in one process.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PYTEST = (sys.executable, "-m", "pytest")
PLAIN = "not (engine or scenario or nodes or browser or npm or schema or stripe or hosts)"
MONEY = tuple(f"tests/{folder}" for folder in ("billing", "payments", "plans", "stripe_account", "stripe_sandbox"))
LANES = {
    "engine": ("-m", "(engine or scenario) and not (nodes or hosts)"),
    "money": ("-m", PLAIN, *MONEY),
    "others": ("-m", PLAIN, *(f"--ignore={folder}" for folder in MONEY)),
}
"""By name, what pytest is told."""

LAST_LINES = 40
"""Of a failed test, told again at the end."""


@dataclass
class Lane:
    """One pytest. Its lines are printed as they come, behind its name."""

    name: str
    process: subprocess.Popen[str]
    report: Path
    began: float

    @classmethod
    def start(cls, name: str, arguments: Sequence[str], folder: Path) -> Lane:
        """``folder`` is this lane's own: each pytest closes the folder of its temporary files to other users."""
        folder.mkdir()
        report = folder / "report.xml"
        process = subprocess.Popen(
            [*PYTEST, *arguments, f"--junitxml={report}"],
            env=os.environ | {"PYTEST_DEBUG_TEMPROOT": str(folder)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        return cls(name, process, report, time.monotonic())

    def tell(self) -> None:
        """Until it ends."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            sys.stdout.write(f"{self.name} | {line}")
            sys.stdout.flush()
        self.process.wait()
        sys.stdout.write(f"{self.name} | over after {time.monotonic() - self.began:.0f} s\n")

    def failures(self) -> Iterator[str]:
        """Each failed test with the last lines it said: often the end of a log is all that is kept."""
        if not self.report.exists():
            return
        for case in ET.parse(self.report).iter("testcase"):
            for child in case:
                if child.tag in ("failure", "error"):
                    said = (child.text or "").splitlines()[-LAST_LINES:]
                    yield "\n".join([f"{child.tag}: {case.get('classname')}::{case.get('name')}", *said])

    def counts(self) -> Counter[str]:
        """Passed, failed, skipped. A lane that left no report, or failed in another way, is one failure more."""
        found: Counter[str] = Counter()
        if self.report.exists():
            for case in ET.parse(self.report).iter("testcase"):
                kinds = {child.tag for child in case}
                found[
                    "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
                ] += 1
        if self.process.returncode != 0 and not found["failed"]:
            found["failed"] += 1
        return found


def main(arguments: list[str]) -> int:
    if arguments:
        return subprocess.run([*PYTEST, *arguments], check=False).returncode
    return run()


def run() -> int:
    """All lanes side by side. Returns what the process ends with."""
    with tempfile.TemporaryDirectory(prefix="appliance-tests-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        lanes = [Lane.start(lane, arguments, folder / lane) for lane, arguments in LANES.items()]
        tellers = [threading.Thread(target=lane.tell) for lane in lanes]
        for teller in tellers:
            teller.start()
        try:
            for teller in tellers:
                teller.join()
        except KeyboardInterrupt:
            for lane in lanes:
                lane.process.send_signal(signal.SIGINT)
            for teller in tellers:
                teller.join()
        for lane in lanes:
            for failure in lane.failures():
                sys.stdout.write(f"\n{lane.name} | {failure}\n")
        counts = sum((lane.counts() for lane in lanes), Counter[str]())
    sys.stdout.write(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped\n")
    return int(counts["failed"] > 0 or not counts["passed"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
