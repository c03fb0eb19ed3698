"""Whether the key for a place at S3 could destroy what is there. The service is asked; nothing there is changed.

Requests are signed as "Signature Version 4" of Amazon's has it, with an empty body.
"""

from __future__ import annotations

import hashlib
import hmac
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import httpx

SECONDS = 30
EMPTY = hashlib.sha256(b"").hexdigest()
SIGNED = ("host", "x-amz-content-sha256", "x-amz-date")
NO_VERSIONS = "the bucket keeps no versions"
MAY_DELETE = "its key may delete versions (s3:DeleteObjectVersion)"
PERMITTED = (200, 204, 404)
"""What a service answers to who may delete a version that there is not."""


@dataclass(frozen=True, slots=True)
class Key:
    id: str
    secret: str
    region: str


def dangers(repository: str, key: Key, now: datetime, ask: Callable[[httpx.Request], httpx.Response]) -> list[str]:
    """What should be changed, as sentences; none where the service gives no clear answer.

    ``repository`` is restic's name of the place. Of all but S3 nothing is said.
    """
    if not repository.startswith("s3:"):
        return []
    place = httpx.URL(repository.removeprefix("s3:"))
    bucket = place.copy_with(path=f"/{place.path.split('/')[1]}")
    try:
        versions = ask(signed("GET", bucket.copy_with(query=b"versioning="), key, now))
        nothing = place.copy_with(path=f"{place.path}/none", query=b"versionId=null")
        deletion = ask(signed("DELETE", nothing, key, now))
    except httpx.HTTPError:
        return []
    if versions.status_code == 200 and "<Status>Enabled</Status>" not in versions.text:
        return [_sentence(NO_VERSIONS)]
    return [_sentence(MAY_DELETE)] if deletion.status_code in PERMITTED else []


def send(request: httpx.Request) -> httpx.Response:
    """To a service whose certificate this machine trusts. Raises httpx.HTTPError."""
    with httpx.Client(verify=ssl.create_default_context(), timeout=SECONDS) as client:
        return client.send(request)


def signed(method: str, url: httpx.URL, key: Key, now: datetime) -> httpx.Request:
    """``url`` has one parameter at most, and nothing in its path that has to be encoded."""
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    headers = {"host": url.netloc.decode(), "x-amz-content-sha256": EMPTY, "x-amz-date": stamp}
    lines = (method, url.path, url.query.decode(), *(f"{name}:{headers[name]}" for name in SIGNED), "")
    canonical = "\n".join((*lines, ";".join(SIGNED), EMPTY))
    scope = (stamp[:8], key.region, "s3", "aws4_request")
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = "\n".join(("AWS4-HMAC-SHA256", stamp, "/".join(scope), digest))
    signing = f"AWS4{key.secret}".encode()
    for word in (*scope, to_sign):
        signing = hmac.digest(signing, word.encode(), "sha256")
    credential = f"Credential={key.id}/{'/'.join(scope)}"
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 {credential},SignedHeaders={';'.join(SIGNED)},Signature={signing.hex()}"
    )
    return httpx.Request(method, url, headers=headers)


def _sentence(why: str) -> str:
    return f"Whoever takes over this machine can destroy the backups: {why}. docs/backup.md says what to do."
