"""The system's own secrets: files of mode 0600 under `$APPLIANCE_HOME/secrets`, made at the first start.

There are no defaults: a secret that is missing is an error everywhere but in `create`.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path

from billing.customers.keys import generate_key, is_well_formed
from serving.files import write_new_secret

SECRET_BYTES = 32
SANDBOX = {"stripe_sandbox_key": "sk_test_", "stripe_sandbox_webhook": "whsec_"}
"""What each begins with, as Stripe's do."""
LIBRECHAT_BYTES = {
    "librechat_jwt_secret": SECRET_BYTES,
    "librechat_jwt_refresh_secret": SECRET_BYTES,
    "librechat_creds_key": SECRET_BYTES,
    "librechat_creds_iv": 16,
    "librechat_session_secret": SECRET_BYTES,
    "librechat_metrics_secret": SECRET_BYTES,
}
"""How long LibreChat wants its own: for AES-256, a key of 32 bytes and a start of 16."""


class SecretsError(Exception):
    """A secret is missing or is no secret; the message names the file."""


@dataclass(frozen=True)
class Secrets:
    """`key_pepper` turns API keys into what the database stores; `cache_salt` keeps tenants' prefix caches
    apart; `cluster_secret` (hex) opens the replicas' private ports."""

    key_pepper: bytes = field(repr=False)
    cache_salt: bytes = field(repr=False)
    cluster_secret: str = field(repr=False)


@dataclass(frozen=True)
class SandboxSecrets:
    """What the sandbox answers to, and what it signs its webhooks with."""

    key: str = field(repr=False)
    webhook: str = field(repr=False)


@dataclass(frozen=True)
class ChatSecrets:
    """By the service key LibreChat asks the API, by the client secret the site for who has signed on."""

    service_key: str = field(repr=False)
    client_secret: str = field(repr=False)


@dataclass(frozen=True)
class LibreChatSecrets:
    """LibreChat's own, in hexadecimal: this system keeps them, and nothing of it uses them."""

    jwt_secret: str = field(repr=False)
    jwt_refresh_secret: str = field(repr=False)
    creds_key: str = field(repr=False)
    creds_iv: str = field(repr=False)
    session_secret: str = field(repr=False)
    metrics_secret: str = field(repr=False)


def create(folder: Path) -> None:
    """Make the secrets that do not exist yet. One that exists is never touched."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    for name in ("key_pepper", "cache_salt", "cluster_secret", "ray_token", "openid_client_secret"):
        write_new_secret(folder / name, secrets.token_hex(SECRET_BYTES) + "\n")
    write_new_secret(folder / "chat_service_key", generate_key() + "\n")
    for name, length in LIBRECHAT_BYTES.items():
        write_new_secret(folder / name, secrets.token_hex(length) + "\n")
    for name, beginning in SANDBOX.items():
        write_new_secret(folder / name, f"{beginning}{secrets.token_hex(SECRET_BYTES)}\n")


def read_sandbox(folder: Path) -> SandboxSecrets:
    """Raises SecretsError."""
    return SandboxSecrets(*(_read_hex(folder / name, beginning) for name, beginning in SANDBOX.items()))


def read_chat(folder: Path) -> ChatSecrets:
    """Raises SecretsError."""
    return ChatSecrets(read_chat_service_key(folder), _read_hex(folder / "openid_client_secret"))


def read_chat_service_key(folder: Path) -> str:
    """All that a gateway has to know of the chat. Raises SecretsError."""
    path = folder / "chat_service_key"
    service_key = _read(path)
    if not is_well_formed(service_key):
        raise SecretsError(f"{path} is damaged: delete it, and `appliance up` makes another")
    return service_key


def read_librechat(folder: Path) -> LibreChatSecrets:
    """Raises SecretsError."""
    return LibreChatSecrets(*(_read_hex(folder / name, length=each) for name, each in LIBRECHAT_BYTES.items()))


def read(folder: Path) -> Secrets:
    """The secrets of this system.

    Raises:
        SecretsError: `create` has not run, or somebody has damaged a file.
    """
    return Secrets(
        key_pepper=bytes.fromhex(_read_hex(folder / "key_pepper")),
        cache_salt=bytes.fromhex(_read_hex(folder / "cache_salt")),
        cluster_secret=_read_hex(folder / "cluster_secret"),
    )


def _read_hex(path: Path, beginning: str = "", length: int = SECRET_BYTES) -> str:
    """With its beginning, if it has one."""
    try:
        text = _read(path)
        if text.startswith(beginning) and len(bytes.fromhex(text.removeprefix(beginning))) == length:
            return text
    except ValueError:
        pass
    raise SecretsError(f"{path} is damaged: {length} bytes in hexadecimal are expected")


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        raise SecretsError(f"{path} is missing: `appliance up` creates it at the first start") from None
