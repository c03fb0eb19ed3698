"""The chat's host for Caddy: what LibreChat's own page asks for gets through, other ways in do not.

What was seen with the real LibreChat v0.8.7 behind a real Caddy is written down here.
"""

import re
from fnmatch import fnmatchcase

import pytest
import yaml

from appliance.settings import CONFIGS

CADDYFILE = (CONFIGS / "librechat" / "Caddyfile").read_text()


def is_shut(path: str) -> bool:
    """Caddy's paths are exact but for a star, and without regard to case."""
    shut = [name for names in re.findall(r"@\w+ path (.*)", CADDYFILE) for name in names.split()]
    assert len(shut) == len(re.findall(r"/\S+", " ".join(shut))) > 10
    return any(fnmatchcase(path.lower(), name.lower()) for name in shut)


@pytest.mark.parametrize(
    "path",
    [
        "/", "/c/new", "/login", "/oauth/openid", "/oauth/openid/callback", "/registerSW.js", "/sw.js", "/health",
        "/api/config", "/api/auth/refresh", "/api/auth/logout", "/api/user", "/api/agents/chat/Example",
        "/api/files/speech/config/get", "/images/1/a.png",
    ],
)  # fmt: skip
def test_what_the_page_asks_for_gets_through(path: str) -> None:
    assert not is_shut(path)


@pytest.mark.parametrize(
    "path",
    [
        "/register", "/register/", "/Register", "/forgot-password", "/reset-password", "/verify", "/login/2fa",
        "/api/auth/login", "/api/auth/login/local", "/api/auth/register", "/api/auth/requestPasswordReset",
        "/api/auth/resetPassword", "/api/auth/2fa/enable", "/api/user/verify", "/api/user/delete", "/oauth/google",
        "/oauth/github/callback", "/oauth/saml", "/api/admin/login/local", "/metrics", "/livez", "/readyz",
    ],
)  # fmt: skip
def test_no_other_way_in_does(path: str) -> None:
    assert is_shut(path)


def test_its_pages_are_framed_by_its_own_alone() -> None:
    assert "X-Frame-Options SAMEORIGIN" in CADDYFILE


def test_the_role_that_installs_it_finds_the_words_that_it_fills_in() -> None:
    role = yaml.safe_load((CONFIGS.parent / "ansible/roles/caddy/vars/main.yml").read_text())
    assert CADDYFILE.count(role["caddy_chat_host"]) == CADDYFILE.count("{$CHAT_HOST") == 1
    assert CADDYFILE.count(role["caddy_chat_upstream"]) == CADDYFILE.count("{$LIBRECHAT") == 1


def test_a_request_whose_client_has_gone_ends() -> None:
    """With this setting Caddy would not tell LibreChat, nor the gateway."""
    assert not re.search(r"^\s*flush_interval", CADDYFILE, re.MULTILINE)
