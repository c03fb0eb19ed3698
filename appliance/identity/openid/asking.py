"""What the chat asks of the browser that it sends here (OpenID Connect Core, 3.1.2.1). Pure.

Until it is certain who asks, nobody is sent anywhere: a redirect goes to the chat's own address, to the letter.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import parse_qsl, urlencode

from appliance.identity.openid.client import CLIENT_ID, Client

MOST_CHARACTERS = 4096
MOST_OF_ONE = 1024
MOST_PARAMETERS = 40
SCOPES = ("openid", "profile", "email", "offline_access")
"""A refresh token is given with all of them: it is worth as much as the session of the site, and no more."""
PROMPTS = frozenset({"none", "login", "consent", "select_account"})
"""Whoever uses the chat of this site is not asked for consent."""
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")


class NotTheChat(Exception):
    """Whoever asked is not known, or wants the answer elsewhere: it is said to the person, and goes nowhere."""


class Refused(Exception):
    """``error`` as the protocol names it; ``state`` goes back as it came."""

    def __init__(self, error: str, description: str = "", state: str | None = None) -> None:
        super().__init__(description or error)
        self.error = error
        self.description = description
        self.state = state


@dataclass(frozen=True, slots=True)
class Asked:
    """``fresh_since``: the person must have signed in since then; None is any time."""

    scope: str
    challenge: str
    state: str | None
    nonce: str | None
    silent: bool
    """Nobody may be shown a page."""
    fresh_since: datetime | None


def parse(query: str, client: Client, first_asked: datetime) -> Asked:
    """``first_asked`` is when the browser came with it first: it may have signed in meanwhile.

    Raises NotTheChat, Refused.
    """
    given = _parameters(query)
    if given.get("client_id") != CLIENT_ID or given.get("redirect_uri") != client.redirect_uri:
        raise NotTheChat
    state = given.get("state")
    try:
        return _asked(given, first_asked)
    except Refused as refused:
        raise Refused(refused.error, refused.description, state) from None


def _parameters(query: str) -> Mapping[str, str]:
    """Each once, as the protocol wants it; an empty one is none. Raises NotTheChat."""
    if len(query) > MOST_CHARACTERS:
        raise NotTheChat
    try:
        pairs = parse_qsl(query, errors="strict", max_num_fields=MOST_PARAMETERS)
    except ValueError:
        raise NotTheChat from None
    given = dict(pairs)
    too_much = any(len(text) > MOST_OF_ONE or "\0" in text for text in given.values())
    if len(given) != len(pairs) or too_much:
        raise NotTheChat
    return given


def _asked(given: Mapping[str, str], first_asked: datetime) -> Asked:
    if "request" in given or "request_uri" in given:
        raise Refused("request_uri_not_supported" if "request_uri" in given else "request_not_supported")
    if given.get("response_type") != "code":
        raise Refused("unsupported_response_type", "response_type must be code")
    if given.get("response_mode", "query") != "query":
        raise Refused("invalid_request", "response_mode must be query")
    scopes = given.get("scope", "").split(" ")
    if "openid" not in scopes:
        raise Refused("invalid_scope", "scope must have openid in it")
    challenge = given.get("code_challenge", "")
    if given.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(challenge):
        raise Refused("invalid_request", "PKCE is needed, with code_challenge_method S256")
    prompts = set(given.get("prompt", "").split())
    if prompts - PROMPTS or ("none" in prompts and len(prompts) > 1):
        raise Refused("invalid_request", "prompt is none, login, consent or select_account")
    return Asked(
        scope=" ".join(one for one in SCOPES if one in scopes),
        challenge=challenge,
        state=given.get("state"),
        nonce=given.get("nonce"),
        silent="none" in prompts,
        fresh_since=_fresh_since(given, prompts, first_asked),
    )


def _fresh_since(given: Mapping[str, str], prompts: set[str], first_asked: datetime) -> datetime | None:
    if prompts & {"login", "select_account"}:
        return first_asked
    age = given.get("max_age")
    if age is None:
        return None
    if not age.isascii() or not age.isdigit() or len(age) > 9:
        raise Refused("invalid_request", "max_age is a number of seconds")
    return first_asked - timedelta(seconds=int(age))


def answer(client: Client, issuer: str, state: str | None, **parameters: str) -> str:
    """The address to which the browser is sent back. It says who answers (RFC 9207)."""
    told = {**parameters, "iss": issuer} | ({} if state is None else {"state": state})
    return f"{client.redirect_uri}?{urlencode(told)}"
