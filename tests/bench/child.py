"""Children that a benchmark measures from outside."""

import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO
from urllib.request import urlopen

import psutil


@contextmanager
def running_child(
    command: list[str],
    env: Mapping[str, str],
    ready: str,
    timeout_seconds: float = 30,
    *,
    stderr: IO[str] | None = None,
) -> Iterator[psutil.Process]:
    """A process that answers at the URL ``ready`` before the block begins. Raises RuntimeError."""
    child = subprocess.Popen(command, env=dict(env), stdout=subprocess.DEVNULL, stderr=stderr)
    try:
        deadline = time.monotonic() + timeout_seconds
        while not _answers(ready):
            if child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command} did not start")
            time.sleep(0.05)
        yield psutil.Process(child.pid)
    finally:
        child.terminate()
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            child.kill()


def cpu_seconds(process: psutil.Process) -> float:
    """User and system time of the process and its children that still run, so far."""
    total = 0.0
    for member in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = member.cpu_times()
            total += times.user + times.system
    return total


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=1):
            return True
    except OSError as error:
        return getattr(error, "code", 0) == 403
