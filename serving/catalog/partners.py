"""What configs/models.yaml says of a partner. Pure."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")
"""Those whose ``usage`` says exactly what a partner counted, whoever the partner is."""
LimitField = Literal["max_tokens", "max_completion_tokens"]
Modality = Literal["text", "image", "audio"]


class PartnerError(Exception):
    """A partner cannot be used as it is written; the message names the field and what is expected."""


Seconds = Annotated[float, msgspec.Meta(gt=0, le=3600)]


class Partner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``url`` is what the paths are appended to; ``model`` is its name for it, by default the entry's.

    ``key`` is the environment variable that holds the key. ``limit_field`` is what the partner calls the most
    tokens of an answer. ``template_tokens`` bounds what its chat template adds to a prompt, ``at_once`` the
    requests that a replica has there. ``keeps_tenants_apart``: it takes ``cache_salt`` as vLLM does.

    An answer has ``connect_seconds`` to be connected; one that is streamed ``first_seconds`` to begin and
    ``idle_seconds`` between two pieces, any other ``total_seconds`` in all.
    """

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    url: str
    key: Annotated[str, msgspec.Meta(pattern=r"^[A-Z][A-Z0-9_]{0,127}$")]
    model: str = ""
    endpoints: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = ("/v1/chat/completions",)
    input: Annotated[tuple[Modality, ...], msgspec.Meta(min_length=1)] = ("text",)
    limit_field: LimitField = "max_tokens"
    template_tokens: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 512
    at_once: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 64
    keeps_tenants_apart: bool = False
    connect_seconds: Seconds = 5.0
    first_seconds: Seconds = 60.0
    idle_seconds: Seconds = 60.0
    total_seconds: Annotated[float, msgspec.Meta(gt=0, le=840)] = 600.0  # the gateway waits for 900


def checked(declared: Partner, entry: str) -> Partner:
    """With its defaults filled in, and the paths' own ``/v1`` off the URL. Raises PartnerError."""
    for path in declared.endpoints:
        if path not in ENDPOINTS:
            raise PartnerError(f"endpoints: {path!r} is none of {', '.join(ENDPOINTS)}")
    return msgspec.structs.replace(declared, url=_base(declared.url), model=declared.model or entry)


def _base(url: str) -> str:
    """A key and a customer's text leave the house over TLS, or do not leave the operator's own network."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if host is None or parts.scheme not in ("https", "http") or parts.query or parts.fragment or parts.username:
        raise PartnerError("url: expected something like https://api.example.com/v1")
    if parts.scheme == "http" and not _is_private(host):
        raise PartnerError("url: only a private address can be without TLS: write https://")
    return re.sub(r"/v1$", "", url.rstrip("/"))


def _is_private(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_private
    except ValueError:
        return False
