"""A browser in which somebody has signed in before, known by a cookie.

Strangers who try passwords use up the tries of strangers: whoever comes from a known browser has tries of their
own. (OWASP, "Device cookies".)
"""

import base64
import hmac
import secrets

NONCE_BYTES, DIGEST_BYTES = 12, 32


class Devices:
    def __init__(self, pepper: bytes) -> None:
        self._pepper = pepper

    def new(self, account_id: int, hashed: str) -> str:
        """A cookie that names this browser as long as the password is the one of this hash."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return base64.urlsafe_b64encode(nonce + self._sign(nonce, account_id, hashed)).decode()

    def name_of(self, cookie: str | None, account_id: int, hashed: str) -> str | None:
        """The browser's, if it is known for this account; else None."""
        try:
            raw = base64.b64decode((cookie or "").encode("ascii"), altchars=b"-_", validate=True)
        except ValueError:
            return None
        nonce, signature = raw[:NONCE_BYTES], raw[NONCE_BYTES:]
        if not hmac.compare_digest(signature, self._sign(nonce, account_id, hashed)):
            return None
        return nonce.hex()

    def _sign(self, nonce: bytes, account_id: int, hashed: str) -> bytes:
        return hmac.digest(self._pepper, b"device|%s|%d|%s" % (nonce, account_id, hashed.encode()), "sha256")
