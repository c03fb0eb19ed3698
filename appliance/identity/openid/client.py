"""The one program that may ask who somebody is: the chat of this system."""

import hmac
from dataclasses import dataclass, field

CLIENT_ID = "librechat"
CALLBACK, AFTER_SIGN_OUT = "/oauth/openid/callback", "/login"
"""Of LibreChat, below its address: where codes are sent, and where whoever signed out goes."""


@dataclass(frozen=True, slots=True)
class Client:
    """``address`` is an origin."""

    address: str
    secret: str = field(repr=False)

    @property
    def redirect_uri(self) -> str:
        return f"{self.address}{CALLBACK}"

    @property
    def after_sign_out(self) -> str:
        return f"{self.address}{AFTER_SIGN_OUT}"

    def is_it(self, client_id: str, secret: str) -> bool:
        right = hmac.compare_digest(secret.encode("utf-8", "replace"), self.secret.encode())
        return right and client_id == CLIENT_ID
