"""The one release of LibreChat that this system is made for, and whether a folder holds it, built."""

from __future__ import annotations

import json
from pathlib import Path

from appliance.librechat import RELEASE

SERVER = Path("api", "server", "index.js")
BUILT = (SERVER, Path("node_modules"), Path("packages", "api", "dist"), Path("client", "dist", "index.html"))
"""What is there after LibreChat's own build, which it starts from."""
OWN_SETTINGS = ".env"
"""LibreChat reads it in the folder that it starts in, and takes from it what its environment does not have.

The release's container image has an empty one.
"""
WHERE_TO_GET_IT = (
    f"get LibreChat {RELEASE} from https://github.com/danny-avila/LibreChat, build it as its documentation says,"
    " or take it out of the release's container image (docs/librechat.md), and name its folder,"
    " or an archive of it, in LIBRECHAT_SOURCE"
)


class ReleaseError(Exception):
    """There is no LibreChat to start; the message says where to get it."""


def check(folder: Path, named: Path | None = None) -> None:
    """Of the folder, or of what was ``named``, if that is an archive.

    Raises:
        ReleaseError: it holds no LibreChat, another release, one that is not built, or settings.
    """
    named = named or folder
    try:
        found = json.loads((folder / "package.json").read_text())
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or found.get("name") != "LibreChat":
        raise ReleaseError(f"{named} holds no LibreChat: {WHERE_TO_GET_IT}")
    if found.get("version") != RELEASE:
        raise ReleaseError(f"{named} holds LibreChat {found.get('version')}: {WHERE_TO_GET_IT}")
    lacking = next((path for path in BUILT if not (folder / path).exists()), None)
    if lacking is not None:
        raise ReleaseError(f"{named} is not built, {lacking} is missing: {WHERE_TO_GET_IT}")
    own = folder / OWN_SETTINGS
    if own.is_symlink() or (own.exists() and own.read_text(errors="replace").strip()):
        raise ReleaseError(f"{own} would be read by LibreChat, beside what is rendered for it: move it elsewhere")
