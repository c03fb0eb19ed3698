"""A built LibreChat that comes as an archive: unpacked once into this system's own folder.

``python -m appliance.librechat.running.unpack ARCHIVE FOLDER UPLOADS IMAGES`` does it, and says how far it is.
What people upload lies elsewhere, so that another archive can take its place. Nothing of one comes to lie outside.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from appliance.librechat.running.release import ReleaseError, check

SOURCE, RECORD = "source", "source.json"
"""In the folder: LibreChat as it was unpacked, and of which archive."""
UPLOADS, IMAGES = Path("uploads"), Path("client", "public", "images")
"""Where LibreChat keeps people's files."""
MOST_BYTES = 16 << 30
MOST_MEMBERS = 1_000_000
CHUNK_BYTES = 1 << 20
LINK_BYTES = 4096


class ArchiveError(Exception):
    """The archive cannot be unpacked; the message says why."""


@dataclass(frozen=True)
class Member:
    """``target`` is a link's. A hard link's is another member's name."""

    name: str
    kind: Literal["file", "folder", "link", "hard link", "other"]
    executable: bool = False
    target: str = ""
    content: IO[bytes] | None = None


def is_unpacked(archive: Path, folder: Path) -> bool:
    """Whether the folder has what is in this archive, as the archive is now."""
    try:
        known = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        return False
    return bool(known == _record(archive)) and (folder / SOURCE).is_dir()


def unpack(archive: Path, folder: Path, say: Callable[[str], None]) -> None:
    """What was unpacked before stays until the whole of the new one is there, and is the right release.

    Raises:
        ArchiveError: the archive is none, too large, or has something that would lie outside.
        ReleaseError: it holds another release, or none that is built.
    """
    fresh, old = folder / f"{SOURCE}.new", folder / f"{SOURCE}.old"
    for left in (fresh, old):
        shutil.rmtree(left, ignore_errors=True)
    record = _record(archive)
    fresh.mkdir(parents=True)
    try:
        with _opened(archive) as (members, done):
            _take_out(members, fresh, lambda: say(f"unpacking LibreChat: {done():.0%}"))
        top = _top(fresh)
        check(top, archive)
    except (ArchiveError, ReleaseError):
        shutil.rmtree(fresh)
        raise
    (folder / RECORD).unlink(missing_ok=True)
    if (folder / SOURCE).exists():
        (folder / SOURCE).rename(old)
    top.rename(folder / SOURCE)
    (folder / RECORD).write_text(json.dumps(record))
    for left in (fresh, old):
        shutil.rmtree(left, ignore_errors=True)


def _record(archive: Path) -> dict[str, str | int]:
    found = archive.stat()
    return {"archive": str(archive), "bytes": found.st_size, "modified_ns": found.st_mtime_ns}


@contextmanager
def _opened(archive: Path) -> Iterator[tuple[Iterator[Member], Callable[[], float]]]:
    """The members, and how much of the archive was read. Raises ArchiveError for what is read within, too."""
    size = max(archive.stat().st_size, 1)
    try:
        with archive.open("rb") as file:
            if archive.suffix == ".zip":
                with zipfile.ZipFile(file) as opened:
                    yield _of_zip(opened), lambda: file.tell() / size
            else:
                with tarfile.open(fileobj=file, mode="r:*") as tar:
                    yield _of_tar(tar), lambda: file.tell() / size
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise ArchiveError(f"{archive} cannot be read: {error}") from None
    except OSError as error:
        raise ArchiveError(f"{archive} cannot be unpacked: {error.strerror or error}") from None


def _of_tar(tar: tarfile.TarFile) -> Iterator[Member]:
    for one in tar:
        if one.isreg():
            yield Member(one.name, "file", bool(one.mode & stat.S_IXUSR), content=tar.extractfile(one))
        elif one.isdir():
            yield Member(one.name, "folder")
        elif one.issym():
            yield Member(one.name, "link", target=one.linkname)
        elif one.islnk():
            yield Member(one.name, "hard link", target=one.linkname)
        else:
            yield Member(one.name, "other")


def _of_zip(opened: zipfile.ZipFile) -> Iterator[Member]:
    for one in opened.infolist():
        mode = one.external_attr >> 16
        if one.is_dir():
            yield Member(one.filename, "folder")
        elif stat.S_ISLNK(mode):
            with opened.open(one) as link:
                yield Member(one.filename, "link", target=os.fsdecode(link.read(LINK_BYTES)))
        else:
            with opened.open(one) as content:
                yield Member(one.filename, "file", bool(mode & stat.S_IXUSR), content=content)


def _take_out(members: Iterator[Member], root: Path, tell: Callable[[], None]) -> None:
    left = MOST_BYTES
    for number, member in enumerate(members):
        if number >= MOST_MEMBERS:
            raise ArchiveError(f"the archive has more than {MOST_MEMBERS} files")
        path = _inside(root, root, member.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if member.kind == "folder":
            path.mkdir(exist_ok=True)
        elif member.kind == "link":
            _inside(root, path.parent, member.target)
            path.symlink_to(member.target)
        elif member.kind == "hard link":
            path.hardlink_to(_inside(root, root, member.target))
        elif member.content is not None:
            left = _write(member.content, path, left)
            path.chmod(0o755 if member.executable else 0o644)
        else:
            raise ArchiveError(f"{member.name} is no file")
        tell()


def _inside(root: Path, start: Path, name: str) -> Path:
    """Where ``name`` is, seen from ``start``, by way of no link. Raises ArchiveError if not in ``root``."""
    path = start / name
    real = Path(os.path.realpath(path.parent)) / path.name
    if Path(name).is_absolute() or not Path(os.path.realpath(real)).is_relative_to(os.path.realpath(root)):
        raise ArchiveError(f"{name} would lie outside")
    return real


def _write(content: IO[bytes], path: Path, left: int) -> int:
    """How much may still come."""
    with path.open("xb") as file:
        while chunk := content.read(CHUNK_BYTES):
            left -= len(chunk)
            if left < 0:
                raise ArchiveError(f"the archive has more than {MOST_BYTES >> 30} GiB in it")
            file.write(chunk)
    return left


def _top(fresh: Path) -> Path:
    """LibreChat's own folder: an archive may have one around it."""
    inside = list(fresh.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else fresh


def lead(place: Path, elsewhere: Path) -> None:
    """What LibreChat writes at ``place`` comes to lie elsewhere, where another archive leaves it as it is."""
    if place.is_symlink():
        place.unlink()
    elif place.exists():
        shutil.rmtree(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(elsewhere)


def main(archive: Path, folder: Path, uploads: Path, images: Path) -> int:
    said = ""

    def say(text: str) -> None:
        nonlocal said
        if text != said:
            said = text
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()

    try:
        if not is_unpacked(archive, folder):
            unpack(archive, folder, say)
        lead(folder / SOURCE / UPLOADS, uploads)
        lead(folder / SOURCE / IMAGES, images)
    except (ArchiveError, ReleaseError, OSError) as error:
        say(f"LIBRECHAT_SOURCE: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
