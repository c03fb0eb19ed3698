"""The systems that the roles are for. ``APPLIANCE_TEST_SYSTEM`` chooses one of them for a run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

VARIABLE = "APPLIANCE_TEST_SYSTEM"
DEFAULT = "debian-12"
BARE = (
    "ca-certificates", "dbus", "iproute2", "libpam-systemd", "openssh-server", "python3", "sudo", "systemd",
    "systemd-sysv",
)  # fmt: skip
"""What every system has."""


@dataclass(frozen=True)
class Keys:
    """The package with the keys of an archive that this machine's debootstrap does not know."""

    url: str
    sha256: str
    path: str


@dataclass(frozen=True)
class System:
    """``packages`` are what its cloud image has beside those of every system, as far as they matter here; a role
    that needs more installs it. ``script`` is debootstrap's, where that may be too old to know the suite.
    ``updates_from`` is how unattended-upgrades names the archive of its security updates.
    """

    suite: str
    mirror: str
    security: str
    components: tuple[str, ...]
    python: str
    postgresql: str
    updates_from: str
    packages: tuple[str, ...] = ()
    keys: Keys | None = None
    script: str = ""

    @property
    def database_unit(self) -> str:
        return f"postgresql@{self.postgresql}-main"

    @property
    def sources(self) -> str:
        """As /etc/apt/sources.list has them."""
        components = " ".join(self.components)
        return (
            f"deb {self.mirror} {self.suite} {components}\n"
            f"deb {self.mirror} {self.suite}-updates {components}\n"
            f"deb {self.security} {self.suite}-security {components}\n"
        )


SYSTEMS: Mapping[str, System] = {
    DEFAULT: System(
        suite="bookworm",
        mirror="http://deb.debian.org/debian",
        security="http://deb.debian.org/debian-security",
        components=("main",),
        python="3.11",
        postgresql="15",
        updates_from="origin=Debian,codename=${distro_codename}-security,label=Debian-Security",
    ),
    "ubuntu-24.04": System(
        suite="noble",
        mirror="http://archive.ubuntu.com/ubuntu",
        security="http://security.ubuntu.com/ubuntu",
        components=("main", "universe"),
        python="3.12",
        postgresql="16",
        updates_from="origin=Ubuntu,archive=${distro_codename}-security,label=Ubuntu",
        packages=(
            "apparmor", "apport", "needrestart", "rsyslog", "systemd-resolved", "systemd-timesyncd", "ufw",
            "unattended-upgrades",
        ),
        keys=Keys(
            "http://archive.ubuntu.com/ubuntu/pool/main/u/ubuntu-keyring/ubuntu-keyring_2023.11.28.1_all.deb",
            "36de43b15853ccae0028e9a767613770c704833f82586f28eb262f0311adb8a8",
            "usr/share/keyrings/ubuntu-archive-keyring.gpg",
        ),
        script="gutsy",
    ),
}  # fmt: skip


def system() -> System:
    """The one that was chosen. Raises ValueError where there is none of that name."""
    name = os.environ.get(VARIABLE) or DEFAULT
    if name not in SYSTEMS:
        raise ValueError(f"{VARIABLE} is {name}; it has to be one of {', '.join(SYSTEMS)}")
    return SYSTEMS[name]
