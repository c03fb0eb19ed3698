"""The parts that `CHAT=1` adds: LibreChat, and a database to try it with where the operator has none."""

from __future__ import annotations

import dataclasses
import socket
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import msgspec

from appliance.librechat.running.start import TOOLS
from appliance.settings import LibreChatHere, Settings
from appliance.supervisor.instance import listen
from appliance.supervisor.keeper import Part
from appliance.supervisor.system import ALONE, APPLIANCE, accepts, answers, free_port, without_billing

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements" / "chat.txt"
DATABASE_CACHE = "256M"
Sockets = tuple[socket.socket, ...]


def install_command(settings: Settings) -> tuple[str, ...]:
    """Puts Node and the database to try LibreChat with into a folder of this system's own, or does nothing."""
    uv = str(Path(sys.executable).with_name("uv"))
    to = str(settings.librechat_home / TOOLS)
    return (
        uv,
        "pip",
        "install",
        "--require-hashes",
        "--python",
        sys.executable,
        "--target",
        to,
        "-r",
        str(REQUIREMENTS),
    )


def unpack_command(settings: Settings, archive: Path) -> tuple[str, ...]:
    """Makes LibreChat's folder of the archive, or does nothing."""
    module = "appliance.librechat.running.unpack"
    folders = (str(settings.librechat_home), settings.chat.uploads, settings.chat.images)
    return (sys.executable, "-m", module, str(archive), *folders)


def mongo_part(settings: Settings, here: LibreChatHere, env: Mapping[str, str]) -> Part:
    """Reached from this machine alone."""
    port = here.mongo_port
    options = ("--host", ALONE, "--port", str(port), "--cache-size", DATABASE_CACHE, "--log-level", "WARNING")
    return Part(
        name="mongo",
        command=(
            sys.executable,
            "-m",
            "secantus",
            "--storage-path",
            str(settings.librechat_home / "mongo"),
            *options,
        ),
        env={**without_billing(env), "PYTHONPATH": str(settings.librechat_home / TOOLS)},
        log=settings.logs / "mongo.log",
        is_ready=lambda: accepts(ALONE, port),
    )


def open_chat(settings: Settings, here: LibreChatHere, stack: ExitStack) -> tuple[Settings, Sockets]:
    """The settings with the chat's ports, and the sockets of a chat that is tried out on this machine alone.

    Raises:
        AddressError: one of the ports is taken.
    """
    here = dataclasses.replace(here, port=here.port or free_port())
    if settings.mongo_uri is None:
        here = dataclasses.replace(here, mongo_port=free_port())
    settings = dataclasses.replace(settings, librechat=here, mongo_uri=settings.mongo_uri or here.mongo_uri)
    if settings.site.address:
        return settings, ()
    chat = stack.enter_context(listen(ALONE, here.tls_port, "CHAT_PORT"))
    sign_on = stack.enter_context(listen(ALONE, here.sign_on_port, "SIGN_ON_PORT"))
    tls_port, sign_on_port = (one.getsockname()[1] for one in (chat, sign_on))
    here = dataclasses.replace(here, tls_port=tls_port, sign_on_port=sign_on_port)
    section = msgspec.structs.replace(settings.chat, address=here.address)
    return dataclasses.replace(settings, librechat=here, chat=section), (chat, sign_on)


def librechat_part(settings: Settings, here: LibreChatHere, env: Mapping[str, str], sockets: Sockets) -> Part:
    """``sockets`` are those of `open_chat`."""
    fds = tuple(one.fileno() for one in sockets)
    options = tuple(f"--{name}-fd={fd}" for name, fd in zip(("chat", "sign-on"), fds, strict=bool(fds)))
    return Part(
        name="librechat",
        command=(*APPLIANCE, "chat", *options),
        env=without_billing(env),
        log=settings.logs / "librechat.log",
        is_ready=lambda: answers(f"http://127.0.0.1:{here.port}/health"),
        pass_fds=fds,
    )
