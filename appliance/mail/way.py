"""How a mail leaves: by the operator's SMTP server, or into a folder where there is none."""

import asyncio
import secrets
from email.message import EmailMessage
from pathlib import Path
from typing import Literal, Protocol

import aiosmtplib

TIMEOUT_SECONDS = 30.0
PERMANENT = 500
"""From this reply on there is no use in trying again (RFC 5321, 4.2.1)."""
Security = Literal["tls", "starttls", "none"]


class NotNow(Exception):
    """The server cannot be reached, or says that it may be tried later."""


class Never(Exception):
    """The server refuses this mail for good."""


class Way(Protocol):
    async def send(self, message: EmailMessage) -> None:
        """When it returns, the mail is somebody else's to keep. Raises NotNow and Never."""


class Smtp:
    """One connection a mail: there are few, and a server may be gone between two."""

    def __init__(self, host: str, port: int, security: Security, user: str | None, password: str | None) -> None:
        self._host = host
        self._port = port
        self._security = security
        self._user = user
        self._password = password

    async def send(self, message: EmailMessage) -> None:
        try:
            await aiosmtplib.send(
                message,
                hostname=self._host,
                port=self._port,
                use_tls=self._security == "tls",
                start_tls=self._security == "starttls",
                username=self._user,
                password=self._password,
                timeout=TIMEOUT_SECONDS,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            raise _refusal(max(refused.code for refused in error.recipients)) from None
        except (aiosmtplib.SMTPAuthenticationError, aiosmtplib.SMTPSenderRefused) as error:
            raise NotNow(f"the server does not let us send ({error.code}): see the settings of mail") from None
        except aiosmtplib.SMTPResponseException as error:
            raise _refusal(error.code) from None
        except (aiosmtplib.SMTPException, OSError) as error:
            raise NotNow(type(error).__name__) from None


def _refusal(code: int) -> NotNow | Never:
    return Never(f"reply {code}") if code >= PERMANENT else NotNow(f"reply {code}")


class Outbox:
    """Each mail a file that any mail program opens. It may hold a link: nobody else may read it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def send(self, message: EmailMessage) -> None:
        try:
            await asyncio.to_thread(self._write, bytes(message))
        except OSError as error:
            raise NotNow(error.strerror or "the outbox cannot be written") from None

    def _write(self, content: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = 1 + max((int(path.stem.partition("-")[0]) for path in self._folder.glob("*-*.eml")), default=0)
        path = self._folder / f"{number:06}-{secrets.token_hex(4)}.eml"
        draft = path.with_suffix(".draft")
        draft.touch(mode=0o600)
        draft.write_bytes(content)
        draft.rename(path)
