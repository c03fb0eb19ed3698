"""Who asks: the API key in the request's headers."""

from collections.abc import Iterable

from appliance.errors import InvalidKey
from billing import keys

Headers = Iterable[tuple[bytes, bytes]]


def bearer_key(headers: Headers) -> str | None:
    """The key as sent; None if none was. Raises InvalidKey if it cannot be one of ours."""
    for name, value in headers:
        if name == b"authorization":
            scheme, _, text = value.decode("latin-1").partition(" ")
            key = text.strip()
            if scheme.lower() != "bearer" or not keys.is_well_formed(key):
                raise wrong_key()
            return key
    return None


def require_key(headers: Headers) -> str:
    key = bearer_key(headers)
    if key is None:
        raise InvalidKey("You didn't provide an API key. Send it in the header `Authorization: Bearer <key>`.")
    return key


def wrong_key() -> InvalidKey:
    return InvalidKey("Incorrect API key provided. Check the key, or create a new one.")
