"""``make fresh``: what a new operator does, from nothing: a fresh clone, ``make up``, the README's example.

With each set of instructions that oneDNN can be held to, as an ordinary user, on a bare Debian with nothing but
what the README asks for (where ``debootstrap`` can make one), and with the newer Pythons that this machine has.
``ARGS='AVX2 user'`` for some. The packages come from the installer's cache where there is one.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from tests.ports import free_port

EXPECTED = "Paris"
START_SECONDS = 1200
STOP_SECONDS = 90
NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")


@dataclass(frozen=True)
class Way:
    """How the two commands are given."""

    environment: Mapping[str, str] = field(default_factory=dict)
    python: str = "python3"
    as_nobody: bool = False
    debian: str = ""


WAYS = {
    "default": Way(),
    "AVX2": Way({"ONEDNN_MAX_CPU_ISA": "AVX2"}),
    "AVX512_CORE": Way({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}),
    "user": Way(as_nobody=True),
    "bookworm": Way(debian="bookworm"),
    "trixie": Way(debian="trixie"),
    "python3.12": Way(python="python3.12"),
    "python3.13": Way(python="python3.13"),
}
ON_REQUEST = ("trixie",)
"""Its Python needs a PyTorch that may only be had from PyTorch's own index."""


def main(wanted: Sequence[str]) -> int:
    if unknown := set(wanted) - WAYS.keys():
        raise SystemExit(f"there is no way {', '.join(sorted(unknown))}: {', '.join(WAYS)}")
    right = 0
    usual = [name for name in WAYS if name not in ON_REQUEST]
    names = [name for name in wanted or usual if _is_here(name)]
    for name in names:
        seconds, answer = _try(WAYS[name])
        right += EXPECTED in answer
        _say(f"{name}: ready after {seconds:.0f} s, installation included; the example answers: {answer}")
    _say(f"{right} of {len(names)} ways answer {EXPECTED}: {', '.join(names)}")
    return int(right != len(names) or not names)


def _is_here(name: str) -> bool:
    way = WAYS[name]
    if not _runs(way.python):
        _say(f"{name}: not on this machine")
        return False
    if way.debian and (os.geteuid() != 0 or shutil.which("debootstrap") is None):
        _say(f"{name}: needs root and debootstrap")
        return False
    if way.as_nobody and os.geteuid() != 0:
        _say(f"{name}: all ways are an ordinary user's here")
        return False
    return True


def _runs(python: str) -> bool:
    """Not so what a manager of versions leaves in the path for a version that is not chosen."""
    found = shutil.which(python)
    return found is not None and not subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode


def _try(way: Way) -> tuple[float, str]:
    """Seconds until it is ready, and what the README's example prints."""
    port = free_port()
    environment = {**os.environ, "PORT": str(port), "SITE_PORT": "0", **way.environment}
    readme = Path("README.md").read_text()
    with (
        tempfile.TemporaryDirectory(prefix="appliance-fresh-", ignore_cleanup_errors=True) as name,
        bare_debian(way.debian, Path(name) / "debian", packages(readme)) as root,
    ):
        clone = root / "tmp/clone" if way.debian else Path(name) / "clone"
        subprocess.run(["git", "clone", "--quiet", ".", str(clone)], check=True)
        prefix: tuple[str, ...] = ()
        if way.debian:
            prefix, environment = ("chroot", str(root), "env", "-C", "/tmp/clone"), environment | {"HOME": "/root"}
        if way.as_nobody:
            subprocess.run(["chown", "-R", "nobody:nogroup", name], check=True)
            prefix, environment = NOBODY, environment | {"HOME": name}
        began = time.monotonic()
        with (Path(name) / "screen.txt").open("wb") as screen:
            make = subprocess.Popen(
                [*prefix, "make", "up", f"PYTHON={way.python}"],
                cwd=clone, env=environment, stdin=subprocess.DEVNULL, stdout=screen, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        try:
            _wait(make, port, Path(screen.name))
            seconds = time.monotonic() - began
            done = subprocess.run(
                [*prefix, "bash", "-c", example(readme)],
                cwd=clone, env=environment, capture_output=True, text=True, check=False,
            )  # fmt: skip
            return seconds, (done.stdout if done.returncode == 0 else done.stderr).strip()[-300:]
        finally:
            with suppress(ProcessLookupError):  # it failed, and says so itself
                os.killpg(make.pid, signal.SIGTERM)
            make.wait(STOP_SECONDS)


@contextmanager
def bare_debian(suite: str, root: Path, packages: Sequence[str]) -> Iterator[Path]:
    """A folder with a Debian of its own, in which nothing is installed but the packages; nothing without a suite.

    What this machine's certificates and its folders of wheels are, it has too.
    """
    if not suite:
        yield root
        return
    _say(f"{suite}: a bare Debian is made")
    subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={','.join(packages)}", suite, root],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    for name, value in os.environ.items():
        if name.endswith(("_CERT", "_CERT_FILE", "_CA_BUNDLE")) and Path(value).is_file():
            (root / value[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(value, root / value[1:])
    mounts = [
        ("-t", "proc", "proc", "proc"),
        ("-t", "tmpfs", "tmpfs", "dev/shm"),
        ("-o", "ro", "-t", "sysfs", "sysfs", "sys"),
    ]
    for folder in filter(os.path.isdir, os.environ.get("PIP_FIND_LINKS", "").split()):
        (root / folder[1:]).mkdir(parents=True)
        mounts.append(("-o", "bind,ro", folder, folder[1:]))
    with ExitStack() as stack:
        for *how, place in mounts:
            subprocess.run(["mount", *how, root / place], check=True)
            stack.callback(_unmount, root / place)
        yield root


def _unmount(place: Path) -> None:
    subprocess.run(["umount", "--lazy", place], check=True)


def packages(readme: str) -> list[str]:
    """What a bare Debian needs."""
    (found,) = re.findall(r"`apt install ([^`]+)`", readme)
    return str(found).split()


def example(readme: str) -> str:
    """The commands that ask the first question."""
    (found,) = re.findall(r"```\n(\s*set -a;.*?)```", readme, re.DOTALL)
    return textwrap.dedent(found)


def _wait(make: subprocess.Popen[bytes], port: int, screen: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if make.poll() is not None:
            raise SystemExit(f"`make up` ended:\n{screen.read_text()[-3000:]}")
        try:
            urlopen(f"http://127.0.0.1:{port}/readyz", timeout=3).close()
        except (URLError, OSError):
            time.sleep(0.5)
        else:
            return
    raise SystemExit(f"`make up` is not ready:\n{screen.read_text()[-3000:]}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
