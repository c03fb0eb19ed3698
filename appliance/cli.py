"""The command line. What is heavy (web framework, Ray, the engine, the groups) is imported where it is needed."""

import asyncio
import os
import time
from collections import UserDict
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup

from appliance.commands.session import fail, settings
from appliance.settings import SettingsError
from appliance.stripe_sandbox.settings import AfterRetries
from appliance.supervisor.services import Service
from appliance.systemd import Manager
from billing.clock import system_clock

GROUPS = (
    "models", "account", "key", "credit", "invoice", "payment", "refund", "rate", "plan", "subscription", "usage",
    "ledger", "books", "backup", "librechat", "settings",
)  # fmt: skip
"""Each is the ``app`` of the module of its name in ``appliance.commands``."""


class Commands(UserDict[str, Any]):
    """By name. A group is imported when somebody asks for it: every service starts by this command line."""

    def __getitem__(self, name: str) -> Any:
        if self.data[name] is None:
            parent = typer.Typer(add_completion=False)
            parent.add_typer(import_module(f"appliance.commands.{name}").app, name=name)
            self.data |= typer.main.get_group(parent).commands
        return self.data[name]


class CommandLine(TyperGroup):
    def __init__(self, *, commands: dict[str, Any], **more: Any) -> None:
        super().__init__(commands=cast("dict[str, Any]", Commands(commands | dict.fromkeys(GROUPS))), **more)


app = typer.Typer(
    name="appliance",
    cls=CommandLine,
    help="An LLM service on your own servers: what runs it, and what its operator asks it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def up() -> None:
    """Start everything and keep it running until Ctrl-C."""
    from appliance.supervisor.instance import AddressError, AlreadyRunningError
    from appliance.supervisor.launch import up as run

    try:
        status = run(settings(), os.environ)
    except (AlreadyRunningError, AddressError, SettingsError) as error:
        raise fail(str(error)) from None
    raise typer.Exit(status)


@app.command()
def join(
    first: Annotated[
        str, typer.Argument(metavar="HOST:PORT", help="The first node's Ray: `ray` in its appliance.yaml.")
    ],
) -> None:
    """Run this machine as a further node of a system until Ctrl-C."""
    from appliance.secrets import SecretsError
    from appliance.supervisor.instance import AddressError, AlreadyRunningError
    from appliance.supervisor.join import join as run

    try:
        status = run(settings(), first, os.environ)
    except SecretsError as error:
        raise fail(f"{error}; on a further node, copy them from the first") from None
    except (AlreadyRunningError, AddressError, SettingsError) as error:
        raise fail(str(error)) from None
    raise typer.Exit(status)


@app.command()
def prepare(
    first: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="On a further node: the first node's Ray.")
    ] = None,
    models: Annotated[
        bool, typer.Option(help="Also convert or download the models now, which serving does otherwise.")
    ] = False,
) -> None:
    """Make this machine ready for its services: folders, secrets, the database's newest version. Then it ends."""
    from appliance.secrets import SecretsError
    from appliance.supervisor.prepare import PrepareError
    from appliance.supervisor.prepare import prepare as run
    from billing.errors import Conflict

    try:
        run(settings(), first, typer.echo, with_models=models)
    except SecretsError as error:
        raise fail(f"{error}; on a further node, copy them from the first") from None
    except (SettingsError, Conflict, PrepareError) as error:
        raise fail(str(error)) from None


@app.command("run")
def run_part(part: Annotated[Service, typer.Argument(help="What `up` calls it.")]) -> None:
    """Run one part as a service of systemd, which keeps it running. `appliance prepare` comes first."""
    from appliance.supervisor.service import run
    from appliance.supervisor.system import NotOursError
    from billing.errors import Conflict

    try:
        run(part, settings(), os.environ)
    except (Conflict, SettingsError, NotOursError) as error:
        raise fail(str(error)) from None


@app.command()
def serve(
    fd: Annotated[list[int] | None, typer.Option(help="Accept from this inherited listening socket.")] = None,
    host: Annotated[str | None, typer.Option(help="Listen here; HOST otherwise.")] = None,
    port: Annotated[int | None, typer.Option(help="Listen here; PORT otherwise.")] = None,
) -> None:
    """Run one gateway process."""
    from appliance.gateway.server import run

    chosen = settings()
    run(chosen, fds=fd or (), host=host or chosen.host, port=chosen.port if port is None else port)


@app.command()
def site(
    fd: Annotated[int | None, typer.Option(help="Accept from this inherited listening socket.")] = None,
) -> None:
    """Run the process that serves the pages."""
    from appliance.web.server import run

    try:
        run(settings(), fd=fd)
    except SettingsError as error:
        raise fail(str(error)) from None


@app.command()
def chat(
    chat_fd: Annotated[int | None, typer.Option(help="Where this machine's browsers come, with TLS.")] = None,
    sign_on_fd: Annotated[int | None, typer.Option(help="Where they come to the site for the sign-on.")] = None,
) -> None:
    """Run LibreChat (LIBRECHAT_SOURCE) as `librechat render` has it."""
    from appliance.librechat.running.process import run
    from appliance.librechat.running.start import StartRefused, librechat_of
    from appliance.supervisor.system import answers
    from appliance.systemd import Manager

    chosen = settings()
    try:
        found = librechat_of(chosen, chat_fd, sign_on_fd, system_clock())
    except StartRefused as refused:
        raise fail(str(refused)) from None

    async def run_informed() -> int:
        async with Manager.of(os.environ).informed(lambda: answers(f"http://127.0.0.1:{found.port}/health")):
            return await run(found, typer.echo)

    raise typer.Exit(asyncio.run(run_informed()))


@app.command("stripe-sandbox")
def stripe_sandbox(
    api_key: Annotated[str, typer.Option(help="The key it answers to: sk_test_…; the system's own without.")] = "",
    webhook_secret: Annotated[str, typer.Option(help="What its webhooks are signed with.")] = "",
    webhook_url: Annotated[
        str | None,
        typer.Option(envvar="STRIPE_SANDBOX_WEBHOOK_URL", help="Where it sends them; nowhere if not given."),
    ] = None,
    port: Annotated[
        int, typer.Option(envvar="STRIPE_SANDBOX_PORT", help="Listen here, on this machine alone.")
    ] = 8002,
    after_retries: Annotated[
        AfterRetries, typer.Option(help="What becomes of a subscription that nobody pays.")
    ] = AfterRetries.PAST_DUE,
    fd: Annotated[int | None, typer.Option(help="Accept from this inherited listening socket.")] = None,
) -> None:
    """Run a stand-in for Stripe on this machine, to practise: no real money moves."""
    from appliance import secrets
    from appliance.stripe_sandbox.server import SandboxRefused, refuse_live, serve
    from appliance.stripe_sandbox.settings import SandboxSettings

    try:
        refuse_live(os.environ.get("STRIPE_API_KEY", ""), api_key)
        system = settings()
        if not api_key:
            own = secrets.read_sandbox(system.secrets)
            api_key, webhook_secret = own.key, own.webhook
        address = f"http://127.0.0.1:{port}"
        chosen = SandboxSettings(api_key, webhook_secret, address, webhook_url, after_retries=after_retries)
        serve(chosen, port=port, fd=fd, path=system.stripe_sandbox)
    except (SandboxRefused, secrets.SecretsError) as error:
        raise fail(str(error)) from None


@app.command()
def worker() -> None:
    """Run the background jobs."""
    from appliance import logs
    from appliance.worker.run import run

    logs.configure()
    try:
        asyncio.run(run(settings()))
    except SettingsError as error:
        raise fail(str(error)) from None


@app.command()
def serving() -> None:
    """Apply the models to Ray and publish their replicas until stopped."""
    from appliance import logs, secrets
    from serving.control.controller import run_serving

    logs.configure()
    chosen = settings()
    if chosen.ray_address is None:
        raise fail("RAY_ADDRESS is not set: `appliance up` starts Ray and sets it")
    secret, ray_address, began = secrets.read(chosen.secrets).cluster_secret, chosen.ray_address, time.time()

    async def has_published() -> bool:
        return chosen.directory.exists() and chosen.directory.stat().st_mtime >= began

    async def run() -> int:
        async with Manager.of(os.environ).informed(has_published):
            return await run_serving(chosen.home, secret, ray_address)

    raise typer.Exit(asyncio.run(run()))


@app.command()
def migrate() -> None:
    """Bring the database to the newest version."""
    from billing.database.migrations import upgrade
    from billing.errors import Conflict

    try:
        asyncio.run(upgrade(settings().sqlalchemy_url))
    except Conflict as error:
        raise fail(str(error)) from None


@app.command(hidden=True)
def initialise() -> None:
    """What `up` does once the database runs: migrate, then the first accounts."""
    from appliance.supervisor.initialise import initialise as run
    from billing.errors import Conflict

    try:
        for line in asyncio.run(run(settings(), system_clock)):
            typer.echo(line)
    except (SettingsError, Conflict) as error:
        raise fail(str(error)) from None


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check this machine and this system, and say what to do; exit status 1 if something fails."""
    from appliance.doctor import findings as doctor
    from appliance.doctor.probes import probe

    findings = doctor.examine(probe(os.environ, Path.cwd()))
    typer.echo(doctor.as_json(findings) if as_json else "\n".join(doctor.as_lines(findings)))
    raise typer.Exit(doctor.failed(findings))


@app.command()
def reconcile(
    day: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Day of UTC; yesterday otherwise.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare meters, usage, transfers, Stripe, documents and balances; exit status 0 only if all agree.

    Repairs nothing.
    """
    from appliance.commands.reconcile import reconcile as run

    run(day, as_json=as_json)


def main() -> None:
    """The entry point `appliance`."""
    app()
