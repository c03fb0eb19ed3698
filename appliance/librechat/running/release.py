"""The one release of LibreChat that this system is made for, and whether a folder holds it, built."""

from __future__ import annotations

import json
import os
from pathlib import Path

from appliance.librechat import RELEASE

SERVER = Path("api", "server", "index.js")
BUILT = (SERVER, Path("node_modules"), Path("packages", "api", "dist"), Path("client", "dist", "index.html"))
"""What is there after LibreChat's own build, which it starts from."""
OWN_SETTINGS = ".env"
"""LibreChat reads it in the folder that it starts in, and takes from it what its environment does not have."""
WHERE_TO_GET_IT = (
    f"get LibreChat {RELEASE} from https://github.com/danny-avila/LibreChat, build it as its documentation says,"
    " and name its folder in LIBRECHAT_SOURCE"
)


class ReleaseError(Exception):
    """There is no LibreChat to start; the message says where to get it."""


def check(folder: Path) -> None:
    """Raises ReleaseError: the folder holds no LibreChat, another release, one that is not built, or settings."""
    try:
        found = json.loads((folder / "package.json").read_text())
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or found.get("name") != "LibreChat":
        raise ReleaseError(f"{folder} holds no LibreChat: {WHERE_TO_GET_IT}")
    if found.get("version") != RELEASE:
        raise ReleaseError(f"{folder} holds LibreChat {found.get('version')}: {WHERE_TO_GET_IT}")
    lacking = next((path for path in BUILT if not (folder / path).exists()), None)
    if lacking is not None:
        raise ReleaseError(f"{folder} is not built, {lacking} is missing: {WHERE_TO_GET_IT}")
    if os.path.lexists(own := folder / OWN_SETTINGS):
        raise ReleaseError(f"{own} would be read by LibreChat, beside what is rendered for it: move it elsewhere")
