"""LibreChat's .env: secrets, how people sign on, and what is shut. Pure."""

import re

from appliance.identity.openid.client import CALLBACK, CLIENT_ID
from appliance.librechat import QUIET, RELEASE
from appliance.librechat.configuration import SERVICE_KEY, NotRendered
from appliance.secrets import ChatSecrets, LibreChatSecrets
from appliance.settings import MONGO_URI, Settings

PLAIN = re.compile(r"[\w./:@+=?&%,-]+", re.ASCII)
"""What every reader of such files takes as it stands."""
MARKS = re.compile(r"[^\w\s]", re.ASCII)
"""What may mean something in Markdown, or parts LibreChat's footer."""
LIMITS = {
    "LOGIN_MAX": "1000",
    "LIMIT_MESSAGE_IP": "false",
    "LIMIT_CONCURRENT_MESSAGES": "false",
    "BAN_VIOLATIONS": "false",
}
"""Of LibreChat's own there is none but a high one on signing on: by its default three people of one office who
sign on within five minutes keep the fourth out. The site limits who tries, the gateway what an account asks."""


def environment(settings: Settings, chat: ChatSecrets, own: LibreChatSecrets) -> str:
    """The whole file, for a chat with a database. Raises NotRendered for a value that no such file can hold."""
    values = (
        _where(settings)
        | _how_people_sign_on(settings, chat, own)
        | _secrets(chat, own)
        | _shut(settings)
        | LIMITS
        | QUIET
    )
    lines = [f"{name}={_quoted(name, value)}" for name, value in values.items()]
    head = f"# Written by `appliance librechat render` for LibreChat {RELEASE}: what is changed here is lost."
    return "\n".join([head, *lines, ""])


def _where(settings: Settings) -> dict[str, str]:
    return {
        "APP_TITLE": settings.site.name,
        "DOMAIN_CLIENT": settings.chat.address,
        "DOMAIN_SERVER": settings.chat.address,
        "HELP_AND_FAQ_URL": f"{settings.site_url}/contact",
        "CUSTOM_FOOTER": _footer(settings.site.company or settings.site.name, settings.site_url),
        "TRUST_PROXY": "1",
        MONGO_URI: settings.mongo_uri or "",
        "ENDPOINTS": "custom,agents",
    }


def _how_people_sign_on(settings: Settings, chat: ChatSecrets, own: LibreChatSecrets) -> dict[str, str]:
    """By OpenID Connect at the site, and by nothing else (decision 37)."""
    return {
        "ALLOW_SOCIAL_LOGIN": "true",
        "ALLOW_SOCIAL_REGISTRATION": "true",
        "ALLOW_EMAIL_LOGIN": "false",
        "ALLOW_REGISTRATION": "false",
        "ALLOW_PASSWORD_RESET": "false",
        "OPENID_ISSUER": settings.openid_issuer,
        "OPENID_CLIENT_ID": CLIENT_ID,
        "OPENID_CLIENT_SECRET": chat.client_secret,
        "OPENID_SESSION_SECRET": own.session_secret,
        "OPENID_SCOPE": "openid profile email",
        "OPENID_CALLBACK_URL": CALLBACK,
        "OPENID_USE_PKCE": "true",
        "OPENID_GENERATE_NONCE": "true",
        "OPENID_NAME_CLAIM": "name",
        "OPENID_BUTTON_LABEL": settings.site.name,
        "OPENID_AUTO_REDIRECT": "true",
        "OPENID_REUSE_TOKENS": "true",
        "OPENID_USE_END_SESSION_ENDPOINT": "true",
    }


def _secrets(chat: ChatSecrets, own: LibreChatSecrets) -> dict[str, str]:
    return {
        SERVICE_KEY: chat.service_key,
        "JWT_SECRET": own.jwt_secret,
        "JWT_REFRESH_SECRET": own.jwt_refresh_secret,
        "CREDS_KEY": own.creds_key,
        "CREDS_IV": own.creds_iv,
        "METRICS_SECRET": own.metrics_secret,
    }


def _shut(settings: Settings) -> dict[str, str]:
    """What writes content down a second time, and what would have an account ended in LibreChat alone."""
    return {
        "ALLOW_ACCOUNT_DELETION": "false",
        "ALLOW_SHARED_LINKS": "true" if settings.chat.shared_links else "false",
        "ALLOW_SHARED_LINKS_PUBLIC": "false",
        "SEARCH": "false",
        "NO_INDEX": "true",
    }


def _footer(name: str, site: str) -> str:
    """Markdown; LibreChat adds the privacy policy and the terms, which librechat.yaml names."""
    text = MARKS.sub(lambda mark: f"&#{ord(mark[0])};", name)
    return f"[{text}]({site})"


def _quoted(name: str, value: str) -> str:
    if PLAIN.fullmatch(value):
        return value
    if "'" in value or not value.isprintable():
        raise NotRendered(f"{name}: LibreChat's .env cannot hold an apostrophe or a line's end")
    return f"'{value}'"
