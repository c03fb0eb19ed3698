"""Runs one part, and starts it again when it dies."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from appliance.postgres import Owner
from appliance.supervisor.census import Census
from appliance.supervisor.processes import end, spawn

READY_POLL_SECONDS = 0.2
STABLE_SECONDS = 60.0
QUICK_FAILURES_TO_REPORT = 5
BACKOFF_MOST_SECONDS = 60.0
GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class Part:
    """A process to keep running. It is started when `needs` are ready, and again when one of them died."""

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    log: Path
    is_ready: Callable[[], Awaitable[bool]]
    needs: tuple[Keeper, ...] = ()
    stop_signal: int = signal.SIGTERM
    stop_seconds: float = 20.0
    owner: Owner | None = None
    pass_fds: tuple[int, ...] = field(default=())


class Keeper:
    """The life of one part, from `run` to `stop`. `say` tells the user what happened to it."""

    def __init__(self, part: Part, census: Census, mains: dict[str, int], say: Callable[[str], None]) -> None:
        self.part = part
        self.ready = asyncio.Event()
        self.gave_up = asyncio.Event()
        self._census = census
        self._mains = mains
        self._say = say
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._renewed = ""
        self.dependants: list[Keeper] = []
        for need in part.needs:
            need.dependants.append(self)

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=self.part.name)

    def check(self) -> None:
        """Raises what ended the keeper itself, which is a defect: a part without one is not supervised."""
        if self._task is not None and self._task.done() and not self._task.cancelled():
            self._task.result()

    async def stop(self) -> None:
        """Stop the part and everything it started; nothing of it is left when this returns."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        process = self._process
        if process is not None and process.returncode is None:
            self._census.look(self._mains)
            process.send_signal(self.part.stop_signal)
            try:
                await asyncio.wait_for(process.wait(), self.part.stop_seconds)
            except TimeoutError:
                process.kill()
                await process.wait()
        await self._sweep()

    async def _run(self) -> None:
        quick_failures = 0
        while True:
            for need in self.part.needs:
                await need.ready.wait()
            started = time.monotonic()
            reason = await self._live_once()
            for dependant in self.dependants:
                dependant.renew()
            if self._renewed:
                self._say(f"{self.part.name} is started again with {self._renewed}")
                self._renewed = ""
                continue
            quick_failures = 1 if time.monotonic() - started > STABLE_SECONDS else quick_failures + 1
            pause = 0.0 if quick_failures == 1 else min(BACKOFF_MOST_SECONDS, 2.0 ** (quick_failures - 2))
            if quick_failures < QUICK_FAILURES_TO_REPORT:
                self._say(f"{self.part.name} {reason}; starting it again (log: {self.part.log})")
            else:
                pause = BACKOFF_MOST_SECONDS
                if quick_failures == QUICK_FAILURES_TO_REPORT:
                    self._say(
                        f"{self.part.name} cannot be kept running: {quick_failures} times in a row it ended "
                        f"soon, now it {reason}. Its log: {self.part.log}. It is tried again every "
                        f"{BACKOFF_MOST_SECONDS:.0f} s; everything else keeps running."
                    )
                self.gave_up.set()
            await asyncio.sleep(pause)

    def renew(self, new: str = "what it runs on") -> None:
        """End the part at once, to start it with what is new: what has died it may wait for for ever."""
        if self._process is not None and self._process.returncode is None:
            self._renewed = new
            self._process.kill()

    async def _live_once(self) -> str:
        """One process from start to end; returns how it ended."""
        try:
            process = await spawn(
                self.part.command,
                self.part.env,
                self.part.log,
                stop_signal=self.part.stop_signal,
                owner=self.part.owner,
                pass_fds=self.part.pass_fds,
            )
        except OSError as error:
            return f"did not start: {error}"
        self._process = process
        self._mains[self.part.name] = process.pid
        watch = asyncio.create_task(self._watch())
        try:
            code = await process.wait()
        finally:
            watch.cancel()
            self.ready.clear()
        await self._sweep()
        return describe_exit(code)

    async def _watch(self) -> None:
        while not await self.part.is_ready():
            await asyncio.sleep(READY_POLL_SECONDS)
        self.ready.set()
        self.gave_up.clear()

    async def _sweep(self) -> None:
        """End what the part's main process left behind."""
        self._census.look(self._mains)
        self._mains.pop(self.part.name, None)
        await end(self._census.of(self.part.name), GRACE_SECONDS)
        self._census.look(self._mains)


def describe_exit(code: int) -> str:
    """An exit status in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
