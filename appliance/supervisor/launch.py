"""The life of a system, from the lock to the last process: what `appliance up` does."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from appliance.librechat.rendering import rendered_by, texts
from appliance.postgres import Cluster, PostgresError, embedded
from appliance.settings import LibreChatHere, Settings
from appliance.supervisor.census import Census, leftovers
from appliance.supervisor.chat import install_command, librechat_part, mongo_part, open_chat, unpack_command
from appliance.supervisor.instance import listen, only_instance, url_of
from appliance.supervisor.keeper import Keeper, Part
from appliance.supervisor.layout import lay_out, require_what_the_first_node_needs
from appliance.supervisor.logs import last_line, rotate
from appliance.supervisor.models import Board
from appliance.supervisor.processes import Identity, adopt_orphans, all_statuses, end, send, spawn
from appliance.supervisor.screen import Screen, Step
from appliance.supervisor.system import (
    ALONE,
    APPLIANCE,
    NotOursError,
    RayNode,
    accepts,
    answers,
    base_environment,
    database_part,
    empty,
    gateway_part,
    mongo_env,
    plan_ray,
    ray_part,
    sandbox_part,
    serving_part,
    site_part,
    worker_part,
)
from appliance.supervisor.welcome import welcome
from billing.clock import system_clock

TICK_SECONDS = 1.0
LEFTOVER_GRACE_SECONDS = 10.0
POLL_SECONDS = 0.3
CHAT_LOOK_SECONDS = 10.0
CHAT_SECONDS = 60.0
"""After that LibreChat is said to be late."""
NOTHING: Mapping[str, str] = MappingProxyType({})


class StartError(Exception):
    """The system cannot start; the message names the part, the reason and the log."""


def up(settings: Settings, inherited: Mapping[str, str]) -> int:
    """Run the system until a signal stops it; the exit status.

    Raises:
        SettingsError: there is no gateway, or a chat lacks something.
        AlreadyRunningError, AddressError: before anything was started.
    """
    require_what_the_first_node_needs(settings)
    return launch(settings, inherited, System)


def launch(settings: Settings, inherited: Mapping[str, str], kind: type[System]) -> int:
    """Run a system of this kind; see `up`."""
    with only_instance(settings.run) as lock, listen(settings.host, settings.port) as api, ExitStack() as stack:
        lock.announce(url_of(api))
        ports, site, sandbox = {"port": api.getsockname()[1]}, None, None
        if kind.has_site:
            site = stack.enter_context(listen(settings.host, settings.site_port, "SITE_PORT"))
            ports["site_port"] = site.getsockname()[1]
            if settings.sandbox:
                port = settings.stripe_sandbox_port
                sandbox = stack.enter_context(listen("127.0.0.1", port, "STRIPE_SANDBOX_PORT"))
                ports["stripe_sandbox_port"] = sandbox.getsockname()[1]
        listeners = Listeners(api, site, sandbox)
        chosen = dataclasses.replace(settings, **ports)
        if kind.has_site and settings.librechat is not None:
            chosen, listeners.chat = open_chat(chosen, settings.librechat, stack)
        system = kind(chosen, inherited, listeners, Screen())
        return asyncio.run(_run(system))


async def _run(system: System) -> int:
    screen = system.screen
    stop = asyncio.Event()
    adopt_orphans()
    await _clean_up(system.settings, screen)
    system.lay_out()
    _on_signals(stop, system)
    starting = asyncio.create_task(system.start())
    stopping = asyncio.create_task(stop.wait())
    ticking = asyncio.create_task(system.tick())
    status = 0
    try:
        await asyncio.wait({starting, stopping, ticking}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
        await asyncio.wait({stopping, ticking}, return_when=asyncio.FIRST_COMPLETED)
        if ticking.done():
            ticking.result()
    except* (StartError, NotOursError, PostgresError) as errors:
        screen.say(*(f"error: {error}" for error in errors.exceptions))
        status = 1
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await system.stop()
        ticking.cancel()
        stopping.cancel()
    return status


async def _clean_up(settings: Settings, screen: Screen) -> None:
    """Make the folders, and end and remove what a killed supervisor left."""
    old = leftovers(settings.run / "parts.json")
    if old:
        step = screen.step("clean up", f"{len(old)} processes of a start that was killed")
        await end(old, LEFTOVER_GRACE_SECONDS)
        step.done(f"{len(old)} processes of a start that was killed")
    settings.directory.unlink(missing_ok=True)
    shutil.rmtree(settings.run / "metrics", ignore_errors=True)
    for folder in (settings.logs, settings.run / "metrics"):
        folder.mkdir(parents=True, exist_ok=True)


def _on_signals(stop: asyncio.Event, system: System) -> None:
    def handle() -> None:
        if stop.is_set():
            system.kill()  # asked twice: somebody does not want to wait
        stop.set()

    # nohup has the end of the terminal ignored, and means it.
    hangup = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
    for number in (signal.SIGINT, signal.SIGTERM, *hangup):
        asyncio.get_running_loop().add_signal_handler(number, handle)


@dataclass
class Listeners:
    """For the gateways, and for the site, the sandbox and a chat that is tried out where there is one."""

    api: socket.socket
    site: socket.socket | None
    sandbox: socket.socket | None
    chat: tuple[socket.socket, ...] = ()


class System:
    """The parts of the first node, in the order in which they were started."""

    has_site: ClassVar[bool] = True

    def __init__(
        self, settings: Settings, inherited: Mapping[str, str], listeners: Listeners, screen: Screen
    ) -> None:
        """``settings`` have the ports that are listened on."""
        self.settings = settings
        self.screen = screen
        self.listeners = listeners
        self.url = url_of(listeners.api)
        self.ray = self.plan_ray()
        self.env = base_environment(inherited, settings, self.ray)
        self.board = Board(screen, settings.directory)
        self.started_at = time.monotonic()
        self.mains: dict[str, int] = {}
        self.census = Census(settings.run / "parts.json")
        self.keepers: list[Keeper] = []
        self.watched: dict[Step, Path] = {}

    def lay_out(self) -> None:
        """Files that the parts expect."""
        lay_out(self.settings)

    def plan_ray(self) -> RayNode:
        return plan_ray(self.settings)

    async def start(self) -> None:
        """Everything that can happen at once does; returns when the system answers or its engine gave up."""
        first_start = not self.settings.demo.exists()
        here = self.settings.librechat
        chat = None if here is None else asyncio.create_task(self.prepare_chat(here))
        try:
            await self._start_all_but_the_chat(chat, first_start=first_start)
            if here is not None and chat is not None and await chat:
                started = await self._start_chat(here)
                if started is not None:
                    await self.keep_chat_current(started)
        finally:
            if chat is not None:
                chat.cancel()
                await asyncio.gather(chat, return_exceptions=True)

    async def _start_all_but_the_chat(self, chat: asyncio.Task[bool] | None, *, first_start: bool) -> None:
        async with asyncio.TaskGroup() as group:
            model = group.create_task(self._prepare_models())
            ray = group.create_task(self.start_ray())
            group.create_task(self._start_database_and_gateway())
            await asyncio.gather(model, ray)
            serving = self.keep(serving_part(self.settings, self.env, (ray.result(),)))
            self.board.expect([model.id for model in self.settings.models if model.base is None])
        ready = await self._wait_for_a_model(serving)
        self.board.refresh()
        seconds = f"{time.monotonic() - self.started_at:.0f} s"
        headline = f"ready after {seconds}" if ready else f"started in {seconds}, but no model answers yet"
        comes = chat is not None and not (chat.done() and not chat.result())
        self.screen.say(*welcome(self.settings, self.url, headline, first_start=first_start, chat_comes=comes))

    async def tick(self) -> None:
        """What has to be looked at once a second."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            for keeper in self.keepers:
                keeper.check()
            self.census.look(self.mains)
            self.board.refresh()
            for step, log in self.watched.items():
                step.update(last_line(log))
            self.screen.refresh()
            rotate(self.settings.logs)

    async def stop(self) -> None:
        """Stop every part, the last started first; nothing is left when this returns."""
        step = self.screen.step("stop", "")
        for keeper in reversed(self.keepers):
            step.update(keeper.part.name)
            await keeper.stop()
        await end(_children(), grace_seconds=0)
        step.done("everything is stopped")

    def kill(self) -> None:
        """Let `stop` find nothing alive."""
        self.census.look(self.mains)
        for name in list(self.mains):
            send(self.census.of(name), signal.SIGKILL)

    async def _wait_for_a_model(self, serving: Keeper) -> bool:
        while not await answers(self.url + "/readyz"):
            if serving.gave_up.is_set() or self.board.all_failed():
                return False
            await asyncio.sleep(POLL_SECONDS)
        return True

    def keep(self, part: Part) -> Keeper:
        """Start a part that lives as long as the system."""
        keeper = Keeper(part, self.census, self.mains, self.screen.say)
        self.keepers.append(keeper)
        keeper.start()
        return keeper

    async def _prepare_models(self) -> None:
        for model in self.settings.models:
            if model.partner is not None:
                continue
            step = self.screen.step("model", model.id)
            log = self.settings.logs / "model.log"
            command = (sys.executable, "-m", "serving.weights.prepare")
            arguments = (model.source, model.id, str(self.settings.home / "models"))
            self.watched[step] = log
            code = await self._run_once("model", (*command, *arguments), log)
            del self.watched[step]
            step.done(f"{model.id} prepared" if code == 0 else f"{model.id}: {last_line(log)} (log: {log})")

    async def start_ray(self, doing: str = "starting", done: str = "running") -> Keeper:
        step = self.screen.step("ray", doing)
        empty(self.ray.folder)
        keeper = self.keep(ray_part(self.settings, self.env, self.ray))
        await self._wait(keeper)
        step.done(done)
        return keeper

    async def _start_database_and_gateway(self) -> None:
        if self.settings.database_url is None:
            await self._start_database()
        step = self.screen.step("database", "migrating")
        log = self.settings.logs / "initialise.log"
        if await self._run_once("initialise", (*APPLIANCE, "initialise"), log) != 0:
            raise StartError(f"the database cannot be prepared: {last_line(log)} (log: {log})")
        step.done("migrated")
        await asyncio.gather(self.start_gateways(), self._start_site(), self._start_sandbox())

    async def start_gateways(self) -> None:
        """And the worker; returns when they answer."""
        step = self.screen.step("gateway", "starting")
        gateways = [
            self.keep(gateway_part(self.settings, self.env, number, (self.listeners.api,)))
            for number in range(self.settings.gateway.processes)
        ]
        worker = self.keep(worker_part(self.settings, self.env))
        await asyncio.gather(*(self._wait(gateway) for gateway in gateways))
        step.done(f"listening on {self.url}" if gateways else "none on this node")
        await self._wait(worker)

    async def _start_site(self) -> None:
        if self.listeners.site is None:
            return
        step = self.screen.step("site", "starting")
        await self._wait(self.keep(site_part(self.settings, self.env, self.listeners.site)))
        step.done(f"listening on {self.settings.site_url}")

    async def _start_sandbox(self) -> None:
        """What stands in for Stripe."""
        if self.listeners.sandbox is None or self.listeners.site is None:
            return
        site = url_of(self.listeners.site)
        step = self.screen.step("stripe", "starting the sandbox")
        await self._wait(self.keep(sandbox_part(self.settings, self.env, self.listeners.sandbox, site)))
        step.done(f"the sandbox: no real money, {self.settings.stripe_sandbox_url}/sandbox")

    async def prepare_chat(self, here: LibreChatHere) -> bool:
        """What LibreChat needs; whether it can be started. Without it everything else runs."""
        self.settings.librechat_home.mkdir(mode=0o700, exist_ok=True)  # what people write is in there
        for folder in (self.settings.chat.uploads, self.settings.chat.images):
            Path(folder).mkdir(parents=True, exist_ok=True)
        step = self.screen.step("chat", "looking for what LibreChat runs on")
        if not await self._are_free(step, LIBRECHAT_PORT=here.port, MONGO_PORT=here.mongo_port):
            return False
        if here.archive is not None and not await self._unpack_chat(step, here.archive):
            return False
        step.update("installing what LibreChat runs on")
        log = self.settings.logs / "chat-install.log"
        if await self._run_once("chat-install", install_command(self.settings), log) != 0:
            self._no_chat(step, f"{last_line(log)} (log: {log})")
            return False
        if here.mongo_port:
            step.update("starting a database to try it with")
            try:
                await self._wait(self.keep(mongo_part(self.settings, here, self.env)))
            except StartError as error:
                self._no_chat(step, str(error))
                return False
        step.done("Node and a database to try it with are there" if here.mongo_port else "Node is there")
        return True

    async def _unpack_chat(self, step: Step, archive: Path) -> bool:
        log = self.settings.logs / "chat-unpack.log"
        self.watched[step] = log
        code = await self._run_once("chat-unpack", unpack_command(self.settings, archive), log)
        del self.watched[step]
        if code != 0:
            self._no_chat(step, f"{last_line(log)} (log: {log})")
        return code == 0

    async def _are_free(self, step: Step, **ports: int) -> bool:
        for name, port in ports.items():
            if port and await accepts(ALONE, port):
                self._no_chat(step, f"port {port} is taken by another program: choose another {name}")
                return False
        return True

    def _no_chat(self, step: Step, why: str) -> None:
        step.done("no chat")
        self.screen.say(f"no chat: {why}")

    async def _start_chat(self, here: LibreChatHere) -> Keeper | None:
        """With the models that run and their prices, so after the last of them has come up or failed."""
        step = self.screen.step("chat", "waiting for the models")
        while self.board.any_starts():
            await asyncio.sleep(POLL_SECONDS)
        if not await self._are_free(step, LIBRECHAT_PORT=here.port):
            return None
        step.update("starting LibreChat")
        if (problem := await self.render_chat()) is not None:
            self._no_chat(step, problem)
            return None
        part = librechat_part(self.settings, here, self.env, self.listeners.chat)
        keeper = self.keep(part)
        try:
            await asyncio.wait_for(self._wait(keeper), CHAT_SECONDS)
        except (StartError, TimeoutError):
            step.done("LibreChat is not there yet")
            self.screen.say(f"LibreChat is not there yet: {last_line(part.log)} (log: {part.log})")
        else:
            step.done(f"LibreChat at {self.settings.chat.address}")
        return keeper

    async def render_chat(self) -> str | None:
        """Write LibreChat's files; why not, if they cannot be written."""
        log = self.settings.logs / "librechat-render.log"
        command = (*APPLIANCE, "librechat", "render")
        code = await self._run_once("librechat-render", command, log, mongo_env(self.settings))
        return None if code == 0 else f"{last_line(log)} (log: {log})"

    async def keep_chat_current(self, librechat: Keeper) -> None:
        """Write its files anew when the day or the models are others, and start it again with what is new."""
        known = None
        while True:
            now = rendered_by(self.settings, system_clock())
            if now != known:
                before = texts(self.settings)
                if (problem := await self.render_chat()) is not None:
                    self.screen.say(f"the chat's models and prices stay as they were: {problem}")
                elif texts(self.settings) != before:
                    await self.wait_for_quiet_chat()
                    librechat.renew("other models or prices")
                known = now
            await asyncio.sleep(CHAT_LOOK_SECONDS)

    async def wait_for_quiet_chat(self) -> None:
        """Nobody's answer is to be broken off by a start that can wait a few minutes."""
        log = self.settings.logs / "librechat-quiet.log"
        await self._run_once("librechat-quiet", (*APPLIANCE, "librechat", "quiet"), log)

    async def _start_database(self) -> None:
        step = self.screen.step("database", "starting")
        cluster: Cluster = embedded(self.settings.home / "postgres", self.settings.postgres_sockets)
        created = await asyncio.to_thread(cluster.initialise)
        await self._wait(self.keep(database_part(self.settings, self.env, cluster)))
        step.done("created and running" if created else "running")

    async def _wait(self, keeper: Keeper) -> None:
        """Until the part is ready.

        Raises:
            StartError: it cannot be kept running.
        """
        waits = [asyncio.create_task(event.wait()) for event in (keeper.ready, keeper.gave_up)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if not keeper.ready.is_set():
            raise StartError(f"{keeper.part.name} does not start, see {keeper.part.log}")

    async def _run_once(
        self, name: str, command: tuple[str, ...], log: Path, more: Mapping[str, str] = NOTHING
    ) -> int:
        """The exit code of a process that ends by itself; it is killed when the start is given up."""
        log.unlink(missing_ok=True)
        process = await spawn(command, {**self.env, **more}, log)
        self.mains[name] = process.pid
        try:
            return await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
            self.mains.pop(name, None)


def _children() -> list[Identity]:
    return [status.identity for status in all_statuses() if status.parent == os.getpid()]
