"""A real embedded PostgreSQL for tests, in a folder of its own, gone afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from appliance.postgres import Cluster, embedded

START_TIMEOUT_SECONDS = 30
STOP_TIMEOUT_SECONDS = 30


IN_HASTE = {"fsync": "off", "full_page_writes": "off"}
"""What only a machine that loses its power would miss: a process that is killed leaves its files to the kernel."""

MEMORY = Path("/dev/shm")
ROOM_BYTES = 4 << 30

OTHER = "TEST_POSTGRES"
"""The environment variable with the folder of another PostgreSQL's programs: ``make test-postgres``."""

OTHER_INITDB_OPTIONS = ("--auth-local=trust", "--auth-host=reject", "--encoding=UTF8", "--locale=C.UTF-8")
"""What every version knows that the product runs on."""


def chosen(cluster: Cluster) -> Cluster:
    """The embedded one, or the same with the programs of another version."""
    folder = os.environ.get(OTHER)
    if folder is None:
        return cluster
    return replace(cluster, binaries=Path(folder), initdb_options=OTHER_INITDB_OPTIONS)


def in_memory() -> Path | None:
    """A folder for databases that come and go, if it has room for them.

    A database is some four hundred files. For a minute or more ext4 does not use the number of a file again that
    was deleted, and looks at each of them before it makes another: a database then takes it half a second.
    """
    return MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ROOM_BYTES else None


@contextmanager
def running_cluster(
    settings: Mapping[str, str] = MappingProxyType({}), place: Path | None = None
) -> Iterator[Cluster]:
    """A fresh cluster that accepts connections. ``settings`` go before its own, ``place`` has its files."""
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir=place))
    cluster = chosen(embedded(folder / "data", folder / "sockets"))
    try:
        cluster.initialise()
        with (folder / "log").open("wb") as log:
            server = start(cluster, log.fileno(), settings)
        try:
            wait_until_ready(cluster, server, folder / "log")
            yield cluster
        finally:
            server.send_signal(signal.SIGINT)
            try:
                server.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def start(
    cluster: Cluster, log: int, settings: Mapping[str, str] = MappingProxyType({})
) -> subprocess.Popen[bytes]:
    owner = cluster.owner
    return subprocess.Popen(
        [*cluster.command(), *(f"--{name}={value}" for name, value in settings.items())],
        stdout=log,
        stderr=log,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        user=owner.uid if owner else None,
        group=owner.gid if owner else None,
        extra_groups=[] if owner else None,
    )


def wait_until_ready(cluster: Cluster, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while subprocess.run(cluster.readiness_command(), check=False).returncode != 0:
        if server.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"PostgreSQL did not start:\n{log.read_text()}")
        time.sleep(0.05)
