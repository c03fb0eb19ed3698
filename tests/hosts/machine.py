"""What a machine must have before it can run hosts, and the commands by which it does."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.hosts.systems import system

PROGRAMS = {
    "debootstrap": "debootstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "setpriv": "util-linux",
    "nsenter": "util-linux",
    "curl": "curl",
    "openssl": "openssl",
}
"""Each with its Debian package."""

TRIAL = "appliance-trial"
"""A network namespace that is made and removed again."""


def command(*arguments: str | Path, check: bool = True, seconds: float = 60) -> str:
    """Its standard output. Raises RuntimeError with what it said when it fails."""
    words = [str(one) for one in arguments]
    done = subprocess.run(words, capture_output=True, text=True, timeout=seconds, check=False)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def lacks() -> str:
    """Why there can be no hosts here, in one sentence, or ''."""
    if os.geteuid() != 0:
        return "test hosts need root, for namespaces and mounts: run this as root"
    try:
        system()
    except ValueError as error:
        return str(error)
    missing = sorted({package for program, package in PROGRAMS.items() if shutil.which(program) is None})
    if missing:
        return f"test hosts need programs that are not here: apt install {' '.join(missing)}"
    if not cgroups():
        return "test hosts need a cgroup file system that can be written below /sys/fs/cgroup, and there is none"
    for trial, what in (
        (["ip", "netns", "add", TRIAL], "network namespaces"),
        (["ip", "-n", TRIAL, "link", "add", "trial", "type", "bridge"], "bridges"),
        (["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"], "mounts of their own"),
    ):
        if subprocess.run(trial, capture_output=True, check=False).returncode != 0:
            forget_trial()
            return f"test hosts need {what}, which this machine does not allow: {' '.join(trial)}"
    forget_trial()
    return ""


def forget_trial() -> None:
    command("ip", "netns", "del", TRIAL, check=False)


def cgroups() -> Sequence[Path]:
    """Where a host needs a group: the one hierarchy of version 2, or those of version 1 that systemd uses."""
    top = Path("/sys/fs/cgroup")
    found = [top] if (top / "cgroup.controllers").exists() else [top / "unified", top / "systemd"]
    return [one for one in found if (one / "cgroup.procs").exists() and os.access(one, os.W_OK)]
