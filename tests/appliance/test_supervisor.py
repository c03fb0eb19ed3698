"""The supervisor, as a process of its own, with small programs as its parts."""

from __future__ import annotations

import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from appliance.supervisor.keeper import describe_exit
from appliance.supervisor.logs import last_line, rotate

PATIENCE_SECONDS = 30.0
T = TypeVar("T")


class Running:
    """A supervisor and what it has printed so far."""

    def __init__(self, home: Path, port: int, *parts: str) -> None:
        self.home = home
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "tests.appliance.small_system", str(home), str(port), *parts],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._queue: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._queue.put(line)

    def wait_for(self, pattern: str) -> str:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                self.lines.append(self._queue.get(timeout=0.1))
            except queue.Empty:
                continue
            if re.search(pattern, self.lines[-1]):
                return self.lines[-1]
        raise AssertionError(f"{pattern!r} was not printed:\n{''.join(self.lines)}")

    def part(self, name: str) -> psutil.Process:
        return eventually(lambda: next(iter(processes(self.home, name)), None))

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)


def eventually(look: Callable[[], T | None]) -> T:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come true")


def has_ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def processes(home: Path, name: str | None = None) -> list[psutil.Process]:
    """The parts' processes of that home, by their command lines."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = process.info["cmdline"] or []
        wanted = "-c" in line and str(home) in line and (name is None or line[-1] == name)
        if wanted and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def is_alive(process: psutil.Process) -> bool:
    """An ended process whose new parent has not asked about it is a zombie, and dead."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def begin(*parts: str, port: int = 0, home: Path | None = None) -> Running:
        started.append(Running(home or tmp_path / "var", port, *parts))
        return started[-1]

    yield begin
    for running in started:
        running.process.kill()
        running.process.wait()
        for process in processes(running.home):
            process.kill()


Start = Callable[..., Running]


def test_a_part_that_is_killed_is_started_again_and_the_user_is_told(start: Start) -> None:
    running = start("steady")
    first = running.part("steady")
    first.kill()
    line = running.wait_for("^steady ")
    assert "was killed by SIGKILL" in line
    assert str(running.home / "logs" / "steady.log") in line
    assert running.part("steady").pid != first.pid


def test_what_runs_on_a_part_that_died_is_started_again_with_it(start: Start) -> None:
    running = start("steady", "leaning")
    steady, leaning = running.part("steady"), running.part("leaning")
    steady.kill()
    running.wait_for("^leaning is started again")
    eventually(lambda: not is_alive(leaning))
    assert running.part("leaning").pid != leaning.pid


def test_a_part_that_cannot_be_kept_running_is_named_and_the_rest_goes_on(start: Start) -> None:
    running = start("failing", "steady")
    steady = running.part("steady")
    line = running.wait_for("cannot be kept running")
    assert line.startswith("failing ")
    assert "exit code 3" in line
    assert str(running.home / "logs" / "failing.log") in line
    assert steady.is_running()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_every_process_even_one_that_left_its_parent(start: Start, number: int) -> None:
    running = start("steady", "parent")
    running.part("child")
    running.part("parent").kill()  # its child is an orphan now
    running.wait_for("^parent ")
    running.part("child")
    running.part("steady")
    assert running.stop(number) == 0
    assert processes(running.home) == []


def test_nothing_stays_of_a_part_that_died(start: Start) -> None:
    running = start("parent")
    child = running.part("child")
    running.part("parent").kill()
    eventually(lambda: not is_alive(child))


def test_the_next_start_cleans_up_after_a_supervisor_that_was_killed(start: Start) -> None:
    running = start("parent")
    child = running.part("child")
    record = running.home / "run" / "parts.json"
    eventually(lambda: record.exists() and str(child.pid) in record.read_text())
    running.process.kill()
    running.process.wait()
    assert is_alive(child)
    again = start("steady")
    again.wait_for("1 processes of a start that was killed")
    assert not is_alive(child)
    again.part("steady")


def test_the_parts_die_with_a_supervisor_that_is_killed(start: Start) -> None:
    running = start("steady")
    part = running.part("steady")
    running.process.kill()
    running.process.wait()
    eventually(lambda: not is_alive(part))


def test_a_second_start_on_the_same_state_says_so_and_changes_nothing(start: Start) -> None:
    first = start("steady")
    part = first.part("steady")
    second = start("steady")
    line = second.wait_for("already running")
    assert second.process.wait(PATIENCE_SECONDS) == 1
    assert str(first.process.pid) in line
    assert "http://127.0.0.1:" in line
    assert part.is_running()


def test_a_port_that_is_taken_is_named(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        running = start("steady", port=port)
        assert f"port {port} " in running.wait_for("taken")
        assert running.process.wait(PATIENCE_SECONDS) == 1
        assert processes(running.home) == []


def test_no_connection_is_refused_while_the_gateway_is_started_again(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    running = start("web", port=port)
    gateway = running.part("web")
    for number in range(20):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=PATIENCE_SECONDS) as answer:
            assert answer.read() == b"hello"
        if number == 0:
            gateway.suspend()
            gateway.kill()
            eventually(lambda: has_ended(gateway))  # until then it may take one more connection with it
    assert running.part("web").pid != gateway.pid


def test_parts_leave_no_core_files_and_are_alone_in_their_session(start: Start) -> None:
    running = start("steady")
    part = running.part("steady")
    assert part.rlimit(psutil.RLIMIT_CORE)[0] == 0
    assert os.getsid(part.pid) == part.pid


def test_an_exit_is_described_in_words() -> None:
    assert describe_exit(2) == "ended with exit code 2"
    assert describe_exit(-11) == "was killed by SIGSEGV"


def test_a_log_that_grew_too_large_is_kept_once_and_begun_anew(tmp_path: Path) -> None:
    log = tmp_path / "ray.log"
    with log.open("ab") as writer:
        writer.write(b"x" * 100 + b"\nend\n")
        writer.flush()
        assert last_line(log) == "end"
        rotate(tmp_path, most_bytes=50)
        writer.write(b"after\n")
    assert log.read_text() == "after\n"
    assert (tmp_path / "ray.log.1").read_text().endswith("end\n")
