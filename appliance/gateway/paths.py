"""What somebody means who asks for a path that is not there. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection

from serving.catalog.endpoints import ENDPOINTS

OTHERS = ("/v1/models", "/v1/usage", "/openapi.json")
KNOWN = (*ENDPOINTS, *OTHERS)


def meant(path: str, known: Collection[str] = KNOWN) -> str | None:
    """The path that is there: without a slash too many, with ``/v1``, or without what stands before it (``/v1``
    twice, or the path of another service). Of several that would do, the longest.
    """
    plain = re.sub("/{2,}", "/", path).rstrip("/")
    if not plain or path in known:
        return None
    if "/v1" + plain in known:
        return "/v1" + plain
    return max((one for one in known if plain.endswith(one)), key=len, default=None)
