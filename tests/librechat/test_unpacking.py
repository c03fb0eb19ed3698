"""A built LibreChat as an archive: unpacked whole or not at all, in its own folder, and anew if it is another."""

import io
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.librechat import RELEASE
from appliance.librechat.running import unpack as unpacking
from appliance.librechat.running.release import BUILT, ReleaseError, check
from appliance.librechat.running.unpack import RECORD, SOURCE, ArchiveError, is_unpacked, unpack
from appliance.settings import SettingsError, load_settings
from appliance.supervisor.chat import unpack_command
from appliance.supervisor.launch import up
from appliance.supervisor.system import base_environment, plan_ray

Pack = Callable[..., Path]
LINK = "node_modules/@librechat/api"


def built(folder: Path, release: str = RELEASE) -> Path:
    """A LibreChat's folder, with a link and a program as npm makes them."""
    for path in BUILT:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        if path.suffix:
            (folder / path).write_text(f"of {release}")
        else:
            (folder / path).mkdir(exist_ok=True)
    (folder / LINK).parent.mkdir()
    (folder / LINK).symlink_to("../../packages/api")
    (folder / "node_modules" / "tool").write_text("#!/bin/sh\n")
    (folder / "node_modules" / "tool").chmod(0o755)
    (folder / "uploads").mkdir()
    (folder / "uploads" / "somebodys.pdf").write_text("of another system")
    (folder / ".env").touch()
    (folder / "package.json").write_text(json.dumps({"name": "LibreChat", "version": release}))
    return folder


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    def make(file: str = "librechat.tar.gz", top: str = "app", release: str = RELEASE) -> Path:
        source = built(tmp_path / f"made-{release}-{file}", release)
        archive = tmp_path / file
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive, "w") as zipped:
                for path in sorted(source.rglob("*")):
                    entry = zipfile.ZipInfo(
                        f"{top}/{path.relative_to(source)}".lstrip("/") + "/" * real_folder(path)
                    )
                    entry.external_attr = path.lstat().st_mode << 16
                    zipped.writestr(entry, content_of(path))
        else:
            with tarfile.open(archive, "w:gz" if file.endswith("gz") else "w") as tar:
                tar.add(source, top or ".")
        return archive

    return make


def real_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def content_of(path: Path) -> bytes:
    if path.is_symlink():
        return os.fsencode(path.readlink())
    return b"" if path.is_dir() else path.read_bytes()


def quietly(_: str) -> None:
    """Nobody reads how far it is."""


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.tar", "a.zip"])
@pytest.mark.parametrize("top", ["", "app"])
def test_it_is_there_as_it_was_packed(pack: Pack, tmp_path: Path, name: str, top: str) -> None:
    said: list[str] = []
    unpack(pack(name, top), tmp_path / "home", said.append)
    source = tmp_path / "home" / SOURCE
    check(source)
    assert (source / LINK / "dist").is_dir()
    assert os.access(source / "node_modules" / "tool", os.X_OK)
    assert all(re.fullmatch(r"unpacking LibreChat: \d+%", line) for line in said)
    assert said
    assert sorted(path.name for path in (tmp_path / "home").iterdir()) == [SOURCE, RECORD]


def test_another_archive_takes_its_place_and_the_same_one_is_left_alone(pack: Pack, tmp_path: Path) -> None:
    archive, home = pack(), tmp_path / "home"
    assert not is_unpacked(archive, home)
    unpack(archive, home, quietly)
    assert is_unpacked(archive, home)
    os.utime(archive, ns=(1, 1))
    assert not is_unpacked(archive, home)
    (home / SOURCE / "left").touch()
    unpack(archive, home, quietly)
    assert is_unpacked(archive, home)
    assert not (home / SOURCE / "left").exists()


def test_what_people_uploaded_stays_and_nothing_comes_with_the_archive(pack: Pack, tmp_path: Path) -> None:
    archive, home, uploads, images = pack(), tmp_path / "home", tmp_path / "uploads", tmp_path / "images"
    uploads.mkdir()
    images.mkdir()

    def start() -> None:
        module = "appliance.librechat.running.unpack"
        subprocess.run([sys.executable, "-m", module, archive, home, uploads, images], check=True)

    start()
    (home / SOURCE / "uploads" / "ada.pdf").write_text("of ada")
    os.utime(archive, ns=(1, 1))
    start()
    assert [(file.name, file.read_text()) for file in uploads.iterdir()] == [("ada.pdf", "of ada")]
    assert (home / SOURCE / "client" / "public" / "images").resolve() == images


def test_another_release_is_refused_and_the_one_before_stays(pack: Pack, tmp_path: Path) -> None:
    home = tmp_path / "home"
    unpack(first := pack(), home, quietly)
    with pytest.raises(ReleaseError, match=r"other\.tar holds LibreChat v0\.8\.6"):
        unpack(pack("other.tar", release="v0.8.6"), home, quietly)
    assert is_unpacked(first, home)
    check(home / SOURCE)
    assert sorted(path.name for path in home.iterdir()) == [SOURCE, RECORD]


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


def special(name: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type = tarfile.FIFOTYPE
    return entry


@pytest.mark.parametrize(
    "members",
    [
        [tarfile.TarInfo("../escaped")],
        [tarfile.TarInfo("/tmp/escaped")],
        [tarfile.TarInfo("app/../../escaped")],
        [link("app/up", "../.."), tarfile.TarInfo("app/up/escaped")],
        [link("app/etc", "/etc")],
        [
            link("app/here", "."),
            link("app/here/up", ".."),
            link("app/up/up", ".."),
            tarfile.TarInfo("app/up/up/escaped"),
        ],
        [link("app/b", "c/../.."), link("app/c", "."), tarfile.TarInfo("app/b/escaped")],
        [link("app/passwd", "../../escaped", tarfile.LNKTYPE)],
        [special("app/pipe")],
    ],
    ids=lambda members: " ".join(f"{one.name}->{one.linkname}" for one in members),
)
def test_nothing_comes_to_lie_outside(tmp_path: Path, members: list[tarfile.TarInfo]) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "escaped").write_text("mine")
    archive, home = tmp_path / "bad.tar", tmp_path / "work" / "home"
    with tarfile.open(archive, "w") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO() if member.isreg() else None)
    with pytest.raises(ArchiveError, match=r"would lie outside|is no file"):
        unpack(archive, home, quietly)
    assert list((tmp_path / "work").rglob("*")) == [home]
    assert (tmp_path / "escaped").read_text() == "mine"


def test_a_zip_that_leads_outside_is_refused_too(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as zipped:
        zipped.writestr("../escaped", "")
    with pytest.raises(ArchiveError, match="would lie outside"):
        unpack(tmp_path / "bad.zip", tmp_path / "home", quietly)
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize("name", ["a.tar.gz", "a.zip"])
def test_half_an_archive_is_none(pack: Pack, tmp_path: Path, name: str) -> None:
    archive = pack(name)
    archive.write_bytes(archive.read_bytes()[:-600])
    with pytest.raises(ArchiveError, match="cannot be read"):
        unpack(archive, tmp_path / "home", quietly)
    assert list((tmp_path / "home").iterdir()) == []


def test_it_does_not_fill_the_disk(pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MOST_BYTES", 20)
    with pytest.raises(ArchiveError, match="more than"):
        unpack(pack(), tmp_path / "home", quietly)
    monkeypatch.undo()
    monkeypatch.setattr(unpacking, "MOST_MEMBERS", 3)
    with pytest.raises(ArchiveError, match="more than 3 files"):
        unpack(tmp_path / "librechat.tar.gz", tmp_path / "home", quietly)
    assert list((tmp_path / "home").iterdir()) == []


def test_the_settings_take_an_archive_and_so_do_the_parts(pack: Pack, tmp_path: Path) -> None:
    archive = pack()
    env = {"APPLIANCE_HOME": str(tmp_path / "home"), "CHAT": "1", "LIBRECHAT_SOURCE": str(archive)}
    settings = load_settings(env)
    own = tmp_path / "home" / "librechat"
    assert settings.librechat is not None
    assert (settings.librechat.source, settings.librechat.archive) == (own / SOURCE, archive)
    assert (settings.chat.uploads, settings.chat.images) == (str(own / "uploads"), str(own / "images"))
    assert load_settings(base_environment(env, settings, plan_ray(settings))).librechat == settings.librechat
    assert unpack_command(settings, archive)[-3:] == (str(own), str(own / "uploads"), str(own / "images"))


def test_up_starts_nothing_without_the_archive(tmp_path: Path) -> None:
    env = {"APPLIANCE_HOME": str(tmp_path / "home"), "CHAT": "1", "LIBRECHAT_SOURCE": str(tmp_path / "no.tgz")}
    with pytest.raises(SettingsError, match=r"LIBRECHAT_SOURCE: .*no\.tgz is not there: get LibreChat"):
        up(load_settings(env), {})
    assert not (tmp_path / "home").exists()
