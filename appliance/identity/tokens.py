"""What opens a door without a password: long random texts, of which a digest is kept."""

import secrets
from hashlib import sha256

BYTES = 32


def new_token() -> str:
    """256 random bits in letters that go into a link or a cookie as they are."""
    return secrets.token_urlsafe(BYTES)


def digest(token: str) -> bytes:
    """Needs no pepper: nobody guesses 256 bits."""
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
