"""Who asks: the API key in the request's headers."""

from collections.abc import Sequence

from appliance.errors import InvalidKey
from billing.customers import keys

Headers = Sequence[tuple[bytes, bytes]]


def sent_key(headers: Headers, *, anthropic: bool = False) -> str | None:
    """The key as sent; None if none was. Anthropic's clients send it as ``x-api-key``.

    Raises InvalidKey if it cannot be one of ours.
    """
    for name, value in headers:
        text = value.decode("latin-1").strip()
        if anthropic and name == b"x-api-key":
            return _well_formed(text)
        if name == b"authorization":
            scheme, _, key = text.partition(" ")
            return _well_formed(key.strip() if scheme.lower() == "bearer" else "")
    return None


def require_key(headers: Headers, *, anthropic: bool = False) -> str:
    key = sent_key(headers, anthropic=anthropic)
    if key is None:
        also = " or `x-api-key: <key>`" if anthropic else ""
        raise InvalidKey(
            f"You didn't provide an API key. Send it in the header `Authorization: Bearer <key>`{also}."
        )
    return key


def _well_formed(key: str) -> str:
    if not keys.is_well_formed(key):
        raise wrong_key()
    return key


def wrong_key() -> InvalidKey:
    return InvalidKey("Incorrect API key provided. Check the key, or create a new one.")
