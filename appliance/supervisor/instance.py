"""One running system to a home: the lock, and the listening socket that outlives every gateway process."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LISTEN_BACKLOG = 1024


class AlreadyRunningError(Exception):
    """Another supervisor holds this home; the message has its process and its URL."""


class AddressError(Exception):
    """HOST and PORT cannot be listened on; the message says why."""


@contextmanager
def only_instance(run: Path) -> Iterator[Lock]:
    """Hold the home's lock; the kernel frees it however the process ends.

    Raises:
        AlreadyRunningError: another process holds it.
    """
    run.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(run / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise AlreadyRunningError(_holder(file.read(), run.parent)) from None
        yield Lock(descriptor)


class Lock:
    """What a second start reads while this one runs."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def announce(self, url: str) -> None:
        text = json.dumps({"pid": os.getpid(), "url": url}).encode()
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text, 0)


def _holder(text: str, home: Path) -> str:
    try:
        record = json.loads(text)
        who = f"process {record['pid']}, {record['url']}"
    except (ValueError, KeyError, TypeError):
        who = "its address is not known yet"
    return f"already running with the state in {home}: {who}"


def listen(host: str, port: int, variable: str = "PORT") -> socket.socket:
    """A socket for the processes of a part to accept from; ``variable`` is where its port was chosen.

    Raises:
        AddressError: the port is taken, or the host is no address of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise AddressError(f"HOST={host} is no usable address: {error.strerror}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(LISTEN_BACKLOG)
    except OSError as error:
        listener.close()
        raise AddressError(_why(error, host, port, variable)) from None
    return listener


def _why(error: OSError, host: str, port: int, variable: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} on {host} is taken by another program: choose another, as in `make up {variable}=8080`"
        )
    if error.errno == errno.EACCES:
        return f"port {port} needs root: choose one above 1023, as in `make up {variable}=8080`"
    return f"cannot listen on {host} port {port}: {error.strerror}"


def url_of(listener: socket.socket) -> str:
    """The address as a client on this machine writes it."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
