"""The files that pages are made of beside their text: each named by its content, so that a browser keeps it."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
DIGITS = 12


@dataclass(frozen=True, slots=True)
class File:
    content: bytes
    media_type: str
    url: str


class Static:
    """All of a folder, in memory; and ``made``, which no file has."""

    def __init__(self, folder: Path, made: dict[str, bytes]) -> None:
        contents = {path.name: path.read_bytes() for path in sorted(folder.iterdir())} | made
        files = (_file(name, content) for name, content in contents.items())
        self._files = dict(zip(contents, files, strict=True))
        self._by_url = {file.url: file for file in self._files.values()}

    def url(self, name: str) -> str:
        return self._files[name].url

    def find(self, url: str) -> File | None:
        return self._by_url.get(url)


def _file(name: str, content: bytes) -> File:
    digest = sha256(content).hexdigest()[:DIGITS]
    return File(content, f"{KINDS[Path(name).suffix]}; charset=utf-8", f"/static/{digest}/{name}")
