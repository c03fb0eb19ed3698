"""A bare system, as a provider would hand it over: made once by debootstrap and never written to again."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from pathlib import Path

from tests.hosts.machine import command
from tests.hosts.systems import BARE, Keys, System, system

SECONDS = 900
HASTE = "force-unsafe-io\n"
"""To dpkg: a host of a test has no need that its packages survive a power cut while they are unpacked."""


def cache() -> Path:
    """Where images and packages are kept from run to run."""
    return Path(os.environ.get("APPLIANCE_TEST_HOSTS", "/var/cache/appliance-test-hosts"))


def fingerprint(of: System) -> str:
    words = (of.suite, of.mirror, of.security, HASTE, *BARE, *of.packages)
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:12]


def image() -> Path:
    """The root folder of the run's system. It is made when it is missing: one to two minutes."""
    wanted = system()
    root = cache() / f"{wanted.suite}-{fingerprint(wanted)}"
    root.parent.mkdir(parents=True, exist_ok=True)
    with (root.parent / "image.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            made = root.with_suffix(".part")
            shutil.rmtree(made, ignore_errors=True)
            make(wanted, made)
            made.rename(root)
    return root


def make(wanted: System, root: Path) -> None:
    options = [
        "--variant=minbase",
        f"--components={','.join(wanted.components)}",
        f"--include={','.join(BARE)}",
        *([f"--keyring={keyring(wanted.keys)}"] if wanted.keys else []),
    ]
    script = [wanted.script] if wanted.script else []
    command("debootstrap", *options, wanted.suite, root, wanted.mirror, *script, seconds=SECONDS)
    (root / "etc/apt/sources.list").write_text(wanted.sources)
    if wanted.packages:
        apt = ("chroot", root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet=2")
        command(*apt, "update", seconds=SECONDS)
        command(*apt, "install", "--yes", "--no-install-recommends", *wanted.packages, seconds=SECONDS)
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()  # each host makes its own
    (root / "etc/dpkg/dpkg.cfg.d/test-hosts").write_text(HASTE)
    (root / "etc/machine-id").write_text("")
    (root / "etc/resolv.conf").unlink(missing_ok=True)  # of systemd-resolved it is a link
    (root / "etc/resolv.conf").write_text("")
    shutil.rmtree(root / "var/cache/apt/archives", ignore_errors=True)


def keyring(keys: Keys) -> Path:
    """The file for debootstrap. Raises RuntimeError when another package than the known one is there."""
    folder = cache() / f"keys-{keys.sha256[:12]}"
    if not folder.exists():
        package, made = folder.with_suffix(".deb"), folder.with_suffix(".part")
        command("curl", "--silent", "--show-error", "--fail", "--output", package, keys.url)
        found = hashlib.sha256(package.read_bytes()).hexdigest()
        if found != keys.sha256:
            raise RuntimeError(f"{keys.url} has the SHA-256 {found} and not {keys.sha256}")
        command("dpkg-deb", "--extract", package, made)
        package.unlink()
        made.rename(folder)
    return folder / keys.path
