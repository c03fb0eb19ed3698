"""Starting processes that cannot outlive the supervisor, and ending processes that are not its children."""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from appliance.postgres import Owner

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LIBC = ctypes.CDLL(None, use_errno=True)
POLL_SECONDS = 0.05


@dataclass(frozen=True, order=True)
class Identity:
    """A process for good: its number is used again some day, but with another start (ticks since boot)."""

    pid: int
    born: int


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent died, and leave no core files: they hold memory."""
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def die_with(parent: int, death_signal: int) -> Callable[[], None]:
    """What a child runs before it becomes its program: the kernel signals it when `parent` dies."""

    def prepare() -> None:
        LIBC.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        if os.getppid() != parent:
            os.kill(os.getpid(), death_signal)

    return prepare


async def spawn(
    command: Sequence[str],
    env: Mapping[str, str],
    log: Path,
    *,
    stop_signal: int = signal.SIGTERM,
    owner: Owner | None = None,
    pass_fds: Sequence[int] = (),
) -> asyncio.subprocess.Process:
    """Start `command` in a session of its own, so that a Ctrl-C reaches the supervisor alone.

    Raises:
        OSError: the program or its log cannot be opened.
    """
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        return await asyncio.create_subprocess_exec(
            *command,
            env=dict(env),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
            pass_fds=pass_fds,
            user=owner.uid if owner else None,
            group=owner.gid if owner else None,
            extra_groups=[] if owner else None,
            preexec_fn=die_with(os.getpid(), stop_signal),
        )
    finally:
        os.close(descriptor)


def send(processes: Iterable[Identity], number: int) -> None:
    """Signal those that are still the same processes."""
    for process in processes:
        if is_alive(process):
            try:
                os.kill(process.pid, number)
            except ProcessLookupError:
                continue


def is_alive(process: Identity) -> bool:
    """Whether it runs; a zombie does not."""
    status = read_status(process.pid)
    return status is not None and status.born == process.born and status.state not in "ZX"


async def end(processes: Iterable[Identity], grace_seconds: float, number: int = signal.SIGTERM) -> None:
    """Ask them to go, wait, then kill those that stay. Returns when none is left."""
    left = [process for process in processes if is_alive(process)]
    send(left, number)
    deadline = time.monotonic() + grace_seconds
    while left and time.monotonic() < deadline:
        await asyncio.sleep(POLL_SECONDS)
        left = [process for process in left if is_alive(process)]
    send(left, signal.SIGKILL)
    while any(is_alive(process) for process in left):
        await asyncio.sleep(POLL_SECONDS)


@dataclass(frozen=True)
class Status:
    """What /proc/<pid>/stat says."""

    pid: int
    parent: int
    session: int
    state: str
    born: int

    @property
    def identity(self) -> Identity:
        return Identity(self.pid, self.born)


def read_status(pid: int) -> Status | None:
    """None if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The program's name is in brackets and may hold anything, brackets and spaces too.
    fields = text[text.rindex(")") + 2 :].split()
    return Status(pid=pid, state=fields[0], parent=int(fields[1]), session=int(fields[3]), born=int(fields[19]))


def all_statuses() -> list[Status]:
    """Every process of this machine, or of this container."""
    statuses = (read_status(int(name)) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208
    return [status for status in statuses if status is not None]
