"""Refresh tokens, known again without being kept."""

import secrets
from uuid import uuid4

from appliance.identity.openid.tokens import RefreshTokens

PEPPER = b"p" * 32


def test_a_refresh_token_names_its_grant_and_its_generation_and_nobody_makes_one_up() -> None:
    tokens, grant = RefreshTokens(PEPPER), uuid4()
    made = tokens.new(grant, 7)
    assert tokens.read(made) == (grant, 7)
    assert RefreshTokens(b"q" * 32).read(made) is None
    assert len({tokens.new(grant, one) for one in range(100)}) == 100
    for position in range(0, len(made), 5):
        other = "A" if made[position] != "A" else "B"
        assert tokens.read(made[:position] + other + made[position + 1 :]) is None
    for other in ("", "é", "=", made[:-4], made + "AAAA", secrets.token_urlsafe(52)):
        assert tokens.read(other) is None
