"""A model from a hub (huggingface.co, or ``HF_ENDPOINT``): only what is safe and needed, checked, and resumed.

The hub's own library finds the files and their checksums. The bytes are fetched here, as that library begins a
file again whose download was killed, and compares sizes alone. A model that is here once is never asked for again:
offline works.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

Progress = Callable[[str], None]

RECORD = "HUB.json"
CHUNK_BYTES = 8 << 20
TELL_BYTES = 64 << 20
WEIGHTS = (".safetensors",)
OTHERS = (".json", ".txt", ".model", ".jinja", ".tiktoken")
"""Never code: nothing that is downloaded is executed."""
TIMEOUT_SECONDS = 60
TRIES = 5


class HubError(Exception):
    """The model cannot be had; the message says why."""


@dataclass(frozen=True, slots=True)
class File:
    """``digest`` is SHA-256 of large files, git's SHA-1 of small ones."""

    name: str
    size: int
    digest: str
    is_sha256: bool


def recorded(directory: Path, source: str) -> bool:
    """Whether all of it is there, checked when it came."""
    try:
        return bool(json.loads((directory / RECORD).read_text())["source"] == source)
    except (OSError, ValueError, KeyError):
        return False


def download(source: str, directory: Path, progress: Progress) -> None:
    """``source`` is ``hub:<repository>[@<revision>]``. Raises HubError; what came so far stays for next time."""
    repository, _, revision = source.removeprefix("hub:").partition("@")
    commit, files = _files(repository, revision or None)
    directory.mkdir(parents=True, exist_ok=True)
    total = sum(file.size for file in files)
    done = 0
    for file in files:

        def tell(here: int, before: int = done, name: str = file.name) -> None:
            progress(f"downloading {name}: {_gib(before + here)} of {_gib(total)} GiB")

        _fetch(repository, commit, file, directory, tell)
        done += file.size
    record = {"source": source, "commit": commit, "files": {file.name: file.digest for file in files}}
    (directory / RECORD).write_text(json.dumps(record, indent=1))


def chosen(files: Sequence[File]) -> list[File]:
    """Weights as safetensors and what belongs to them, of the repository's top folder. Raises HubError."""
    top = [file for file in files if "/" not in file.name]
    weights = [file for file in top if file.name.endswith(WEIGHTS)]
    if not weights:
        raise HubError("there are no weights as safetensors in it")
    return sorted([file for file in top if file.name.endswith(OTHERS)] + weights, key=lambda file: file.size)


def _files(repository: str, revision: str | None) -> tuple[str, list[File]]:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        info = HfApi(endpoint=_endpoint()).model_info(
            repository, revision=revision, files_metadata=True, timeout=TIMEOUT_SECONDS
        )
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", "no")
        raise HubError(f"the hub answers {status} for {repository}: check its name, and HF_TOKEN") from None
    except Exception as error:  # noqa: BLE001 -- whatever its transport raises
        raise HubError(f"the hub cannot be reached: {type(error).__name__}") from None
    found = [
        File(one.rfilename, one.lfs.size, one.lfs.sha256, True)
        if one.lfs
        else File(one.rfilename, one.size or 0, one.blob_id or "", False)
        for one in info.siblings or ()
    ]
    return str(info.sha), chosen(found)


def _fetch(repository: str, commit: str, file: File, directory: Path, tell: Callable[[int], None]) -> None:
    final = directory / file.name
    if final.exists() and _digest(final, file) == file.digest:
        return
    part = directory / f".{file.name}.part"
    for attempt in range(TRIES):
        try:
            _append(repository, commit, file, part, tell)
        except OSError as error:
            if attempt + 1 == TRIES:
                raise HubError(f"{file.name}: the hub broke off: {type(error).__name__}") from None
            continue
        if _digest(part, file) == file.digest:
            part.replace(final)
            return
        part.unlink()  # nothing of it can be trusted
    raise HubError(f"{file.name} does not have the checksum that the hub says")


def _append(repository: str, commit: str, file: File, part: Path, tell: Callable[[int], None]) -> None:
    """From where an earlier download stopped. Raises OSError if the connection breaks."""
    import httpx
    from huggingface_hub.utils import build_hf_headers

    have = part.stat().st_size if part.exists() else 0
    if have >= file.size:
        return
    headers = {**build_hf_headers(), "range": f"bytes={have}-", "accept-encoding": "identity"}
    url = f"{_endpoint()}/{repository}/resolve/{commit}/{quote(file.name)}"
    try:
        with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=TIMEOUT_SECONDS) as answer:
            answer.raise_for_status()
            resumed = answer.status_code == httpx.codes.PARTIAL_CONTENT
            with part.open("ab" if resumed else "wb") as target:
                told = have if resumed else 0
                for chunk in answer.iter_raw():
                    target.write(chunk)
                    if target.tell() - told >= TELL_BYTES:
                        told = target.tell()
                        tell(told)
    except httpx.HTTPError as error:
        raise ConnectionError(str(type(error).__name__)) from error
    tell(file.size)


def _endpoint() -> str:
    """The hub, or the mirror that the hub's own tools would use."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def _digest(path: Path, file: File) -> str:
    digest: Any = hashlib.sha256() if file.is_sha256 else hashlib.sha1(b"blob %d\0" % path.stat().st_size)  # noqa: S324 -- git's
    with path.open("rb") as content:
        while chunk := content.read(CHUNK_BYTES):
            digest.update(chunk)
    return str(digest.hexdigest())


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f}"
