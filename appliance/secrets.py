"""The system's own secrets: files of mode 0600 under `$APPLIANCE_HOME/secrets`, made at the first start.

There are no defaults: a secret that is missing is an error everywhere but in `create`.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path

from serving.files import write_new_secret

SECRET_BYTES = 32
SANDBOX = {"stripe_sandbox_key": "sk_test_", "stripe_sandbox_webhook": "whsec_"}
"""What each begins with, as Stripe's do."""


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


def create(folder: Path) -> None:
    """Make the secrets that do not exist yet. One that exists is never touched."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    for name in ("key_pepper", "cache_salt", "cluster_secret", "ray_token"):
        write_new_secret(folder / name, secrets.token_hex(SECRET_BYTES) + "\n")
    for name, beginning in SANDBOX.items():
        write_new_secret(folder / name, f"{beginning}{secrets.token_hex(SECRET_BYTES)}\n")


def read_sandbox(folder: Path) -> SandboxSecrets:
    """Raises SecretsError."""
    return SandboxSecrets(*(_read_hex(folder / name, beginning) for name, beginning in SANDBOX.items()))


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


def _read_hex(path: Path, beginning: str = "") -> str:
    """With its beginning, if it has one."""
    try:
        text = path.read_text().strip()
        if text.startswith(beginning) and len(bytes.fromhex(text.removeprefix(beginning))) == SECRET_BYTES:
            return text
    except FileNotFoundError:
        raise SecretsError(f"{path} is missing: `appliance up` creates it at the first start") from None
    except ValueError:
        pass
    raise SecretsError(f"{path} is damaged: {SECRET_BYTES} bytes in hexadecimal are expected")
