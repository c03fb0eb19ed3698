"""The cookies: all are strictly necessary, for this host alone, over TLS alone, and no script reads them.

``__Host-`` makes a browser hold to that: no other host of the same domain can plant one (RFC 6265bis, 4.1.3.2).
"""

from datetime import timedelta
from enum import Enum

from fastapi import Request
from fastapi.responses import Response


class Cookie(Enum):
    """Its name, and how long a browser keeps it; the server decides when what it names is over."""

    SESSION = ("__Host-session", timedelta(days=30))
    DEVICE = ("__Host-device", timedelta(days=365))
    """A browser in which somebody has signed in."""
    APPLIED = ("__Host-applied", timedelta(hours=24))
    """The browser in which somebody has signed up."""
    LANGUAGE = ("__Host-language", timedelta(days=365))

    def __init__(self, key: str, lasts: timedelta) -> None:
        self.key = key
        self.lasts = lasts


def read(request: Request, cookie: Cookie) -> str | None:
    return request.cookies.get(cookie.key)


def keep(response: Response, cookie: Cookie, value: str) -> None:
    response.set_cookie(
        cookie.key, value, max_age=int(cookie.lasts.total_seconds()), secure=True, httponly=True, samesite="lax"
    )


def drop(response: Response, cookie: Cookie) -> None:
    response.delete_cookie(cookie.key, secure=True, httponly=True, samesite="lax")
