"""A bare Debian, as a provider would hand it over: made once by debootstrap and never written to again."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from pathlib import Path

from tests.hosts.machine import command

SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
SECURITY = "http://deb.debian.org/debian-security"
PACKAGES = (
    "ca-certificates", "dbus", "iproute2", "libpam-systemd", "openssh-server", "python3", "sudo", "systemd",
    "systemd-sysv",
)  # fmt: skip
"""What Debian's cloud image has, and no more: a role that needs something installs it."""

SECONDS = 900


def cache() -> Path:
    """Where images and packages are kept from run to run."""
    return Path(os.environ.get("APPLIANCE_TEST_HOSTS", "/var/cache/appliance-test-hosts"))


def fingerprint() -> str:
    return hashlib.sha256("\n".join((SUITE, MIRROR, SECURITY, *PACKAGES)).encode()).hexdigest()[:12]


def image() -> Path:
    """The image's root folder. It is made when it is missing: one to two minutes."""
    root = cache() / f"{SUITE}-{fingerprint()}"
    root.parent.mkdir(parents=True, exist_ok=True)
    with (root.parent / "image.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            made = root.with_suffix(".part")
            shutil.rmtree(made, ignore_errors=True)
            make(made)
            made.rename(root)
    return root


def make(root: Path) -> None:
    command(
        "debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, root, MIRROR, seconds=SECONDS
    )
    (root / "etc/apt/sources.list").write_text(
        f"deb {MIRROR} {SUITE} main\n"
        f"deb {MIRROR} {SUITE}-updates main\n"
        f"deb {SECURITY} {SUITE}-security main\n"
    )  # fmt: skip
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()  # each host makes its own
    (root / "etc/machine-id").write_text("")
    (root / "etc/resolv.conf").write_text("")
    shutil.rmtree(root / "var/cache/apt/archives", ignore_errors=True)
