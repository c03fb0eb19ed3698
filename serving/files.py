"""Files that others read at any moment."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, content: bytes, mode: int | None = None) -> None:
    """Whoever reads it sees the earlier content or this one, never a part. Without ``mode`` the umask decides.

    Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_bytes(content)
    if mode is not None:
        draft.chmod(mode)
    draft.replace(path)


def write_secret(path: Path, text: str) -> None:
    """The same, for its owner alone to read, and on the disk when this returns; the folder is there."""
    _secret_draft(path, text).replace(path)


def write_new_secret(path: Path, text: str) -> None:
    """The same, unless there is one: of two who do this at once only one decides."""
    draft = _secret_draft(path, text)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _secret_draft(path: Path, text: str) -> Path:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return draft
