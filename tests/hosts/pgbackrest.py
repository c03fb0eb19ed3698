"""The pgBackRest of PostgreSQL's own repository, which is not near: the next Debian's, with all that it loads."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from tests.hosts.image import SECONDS, cache
from tests.hosts.machine import command
from tests.hosts.systems import DEFAULT, SYSTEMS

ORIGIN = "apt.postgresql.org"
SUITE = "trixie"
VERSION = "2.55"
"""At least; it knows SFTP from 2.46 on."""
HOME = "opt/pgbackrest"
WRAPPER = f"""#!/bin/sh
exec /{HOME}/ld.so --argv0 "$0" --library-path /{HOME} /{HOME}/pgbackrest "$@"
"""
CONTROL = f"""Package: pgbackrest
Version: {VERSION}+1
Architecture: amd64
Maintainer: A test <a@example.com>
Description: The program with the libraries that it was built with
"""


def package() -> Path:
    """For Debian 12. It is made where it is missing: a minute or two."""
    made = cache() / f"pgbackrest_{VERSION}_amd64.deb"
    if not made.exists():
        with tempfile.TemporaryDirectory(dir=cache()) as folder:
            tree = gather(Path(folder, SUITE), Path(folder, "tree"))
            part = Path(folder, made.name)
            command("dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, part)
            part.rename(made)
    return made


def gather(system: Path, tree: Path) -> Path:
    """Of a system that debootstrap has made, the program and what it loads."""
    mirror = SYSTEMS[DEFAULT].mirror
    command("debootstrap", "--variant=minbase", "--include=pgbackrest", SUITE, system, mirror, seconds=SECONDS)
    home = tree / HOME
    for folder in (home, tree / "usr/bin", tree / "DEBIAN"):
        folder.mkdir(parents=True)
    loaded = command("chroot", system, "ldd", "/usr/bin/pgbackrest")
    for line in loaded.splitlines():
        name, _, path = line.strip().partition(" => ")
        file = (path or name).split()[0]
        if file.startswith("/"):
            shutil.copy2(system / file.lstrip("/"), home / Path(file).name)
    [loader] = home.glob("ld-linux-*")
    loader.rename(home / "ld.so")
    shutil.copy2(system / "usr/bin/pgbackrest", home)
    (tree / "usr/bin/pgbackrest").write_text(WRAPPER)
    (tree / "usr/bin/pgbackrest").chmod(0o755)
    (tree / "DEBIAN/control").write_text(CONTROL)
    return tree
