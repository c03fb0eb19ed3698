"""Passkeys (WebAuthn, level 3): a key pair in somebody's telephone, computer or security key, for this site alone.

Whoever uses one unlocks it, by a finger, a face or a number: it is two factors in one, and no other site can ask
for it. What it signs, a challenge, is good once, for minutes, and in the session alone that asked for it.
"""

import hmac
import json
import struct
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from sqlalchemy import delete, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection
from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import (
    base64url_to_bytes,
    parse_authentication_credential_json,
    parse_client_data_json,
    parse_registration_credential_json,
)
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AttestationFormat,
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from appliance.identity.errors import InvalidPersonName, WrongCredentials
from appliance.identity.origin import Origin
from appliance.identity.sessions import Signed
from appliance.identity.tables import challenge, passkey
from appliance.identity.throttle import Rate, Throttle
from appliance.identity.tokens import digest, new_token

LASTS = timedelta(minutes=5)
"""From a page's question until the answer."""
ASKED = Rate(60, timedelta(seconds=2))
"""By one person, or by strangers from one network."""
MOST_PASSKEYS, MOST_CHARACTERS = 20, 60
BROKEN = (
    WebAuthnException, UnsupportedAlgorithm, struct.error, AttributeError, LookupError, OverflowError,
    RecursionError, TypeError, ValueError,
)  # fmt: skip
"""What the library raises for what no authenticator has made."""
ATTESTED = (AttestationFormat.NONE, AttestationFormat.PACKED)
"""How a device may prove whose make it is: by nothing, or by the passkey itself."""
MOST_ID_BYTES = 1023


@dataclass(frozen=True, slots=True)
class Passkey:
    """One of a person's, as it is shown."""

    id: int
    name: str
    created_at: datetime
    used_at: datetime | None


class Passkeys:
    """Of the site at ``address``. Its statements are part of the caller's transactions."""

    def __init__(self, address: str, service: str, throttle: Throttle, pepper: bytes) -> None:
        self._origin, self._host = _as_browsers_say(address)
        self._service = service
        self._throttle = throttle
        self._pepper = pepper

    async def to_add(self, connection: AsyncConnection, signed: Signed, now: datetime) -> str:
        """What ``navigator.credentials.create`` is given, as JSON. Raises WrongCredentials: there are too many."""
        there = await _credentials(connection, signed.account_id)
        if len(there) >= MOST_PASSKEYS:
            raise WrongCredentials("You have {most} passkeys. Please remove one first.", most=MOST_PASSKEYS)
        options = generate_registration_options(
            rp_id=self._host,
            rp_name=self._service,
            user_id=self._handle(signed.account_id),
            user_name=signed.email,
            user_display_name=signed.name,
            challenge=await _new_challenge(connection, signed.session_id, now, adding=True),
            timeout=_milliseconds(LASTS),
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED,
                user_verification=UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=there,
        )
        return options_to_json(options)

    async def add(self, connection: AsyncConnection, signed: Signed, name: str, given: str, now: datetime) -> None:
        """``given`` is what the browser answered, as JSON. Raises WrongCredentials, InvalidPersonName."""
        name = " ".join(name.split())
        if not 0 < len(name) <= MOST_CHARACTERS or not name.isprintable():
            raise InvalidPersonName("A name has 1 to {most} characters.", most=MOST_CHARACTERS)
        try:
            answer = parse_registration_credential_json(given)
            signed_text = parse_client_data_json(answer.response.client_data_json).challenge
            await _use_challenge(connection, signed_text, signed.session_id, now, adding=True)
            made = verify_registration_response(
                credential=answer,
                expected_challenge=signed_text,
                expected_rp_id=self._host,
                expected_origin=self._origin,
                require_user_verification=True,
            )
        except BROKEN:
            raise _wrong() from None
        if made.fmt not in ATTESTED or len(made.credential_id) > MOST_ID_BYTES:
            raise _wrong()
        row = {
            "account_id": signed.account_id,
            "credential": made.credential_id,
            "public_key": made.credential_public_key,
            "sign_count": made.sign_count,
            "name": name,
            "created_at": now,
        }
        added = upsert(passkey).values(**row).on_conflict_do_nothing().returning(passkey.c.id)
        if (await connection.execute(added)).scalar_one_or_none() is None:
            raise _wrong()

    async def to_use(
        self, connection: AsyncConnection, signed: Signed | None, origin: Origin, now: datetime
    ) -> str:
        """What ``navigator.credentials.get`` is given, as JSON: to prove who is signed in, or to sign in.

        Raises TooManyTries.
        """
        if signed is None:
            session_id, there, who = None, [], origin.network
        else:
            session_id, who = signed.session_id, str(signed.account_id)
            there = await _credentials(connection, signed.account_id)
        await self._throttle.spend(connection, ASKED, now, "passkey", who)
        options = generate_authentication_options(
            rp_id=self._host,
            challenge=await _new_challenge(connection, session_id, now, adding=False),
            timeout=_milliseconds(LASTS),
            allow_credentials=there,
            user_verification=UserVerificationRequirement.REQUIRED,
        )
        return options_to_json(options)

    async def use(
        self, connection: AsyncConnection, account_id: int, session_id: int | None, given: str, now: datetime
    ) -> None:
        """Raises WrongCredentials if it is not one of the account's that signed what was asked for, just now."""
        try:
            answer = parse_authentication_credential_json(given)
            mine = passkey.c.account_id == account_id, passkey.c.credential == answer.raw_id
            row = (await connection.execute(select(passkey).where(*mine).with_for_update())).one_or_none()
            handle = answer.response.user_handle
            if row is None or (handle and not hmac.compare_digest(handle, self._handle(account_id))):
                raise _wrong()
            signed_text = parse_client_data_json(answer.response.client_data_json).challenge
            await _use_challenge(connection, signed_text, session_id, now, adding=False)
            used = verify_authentication_response(
                credential=answer,
                expected_challenge=signed_text,
                expected_rp_id=self._host,
                expected_origin=self._origin,
                credential_public_key=row.public_key,
                credential_current_sign_count=row.sign_count,
                require_user_verification=True,
            )
        except BROKEN:
            raise _wrong() from None
        values = {"sign_count": used.new_sign_count, "used_at": now}
        await connection.execute(update(passkey).where(passkey.c.id == row.id).values(**values))

    def _handle(self, account_id: int) -> bytes:
        """By which an authenticator knows an account, and which says nothing of it."""
        return hmac.digest(self._pepper, b"passkeys of %d" % account_id, "sha256")


def is_passkeys(given: str) -> bool:
    """Whether it is what a passkey signed, and not a code."""
    return given.startswith("{")


async def owner(connection: AsyncConnection, given: str) -> int | None:
    """Whose passkey it says it is: nothing is proven by that."""
    try:
        credential = base64url_to_bytes(json.loads(given)["id"])
    except BROKEN:
        return None
    query = select(passkey.c.account_id).where(passkey.c.credential == credential)
    return (await connection.execute(query)).scalar_one_or_none()


async def of(connection: AsyncConnection, account_id: int) -> list[Passkey]:
    columns = [passkey.c[name] for name in Passkey.__slots__]
    query = select(*columns).where(passkey.c.account_id == account_id).order_by(passkey.c.id)
    return [Passkey(**row) for row in (await connection.execute(query)).mappings()]


async def remove(connection: AsyncConnection, account_id: int, passkey_id: int) -> bool:
    """Whether there was such a one of the account's."""
    mine = passkey.c.account_id == account_id, passkey.c.id == passkey_id
    return bool((await connection.execute(delete(passkey).where(*mine))).rowcount)


async def forget(connection: AsyncConnection, now: datetime) -> None:
    """Challenges that nobody answered."""
    await connection.execute(delete(challenge).where(challenge.c.expires_at <= now))


async def _credentials(connection: AsyncConnection, account_id: int) -> list[PublicKeyCredentialDescriptor]:
    query = select(passkey.c.credential).where(passkey.c.account_id == account_id).order_by(passkey.c.id)
    return [PublicKeyCredentialDescriptor(id=each) for each in (await connection.execute(query)).scalars()]


async def _new_challenge(
    connection: AsyncConnection, session_id: int | None, now: datetime, *, adding: bool
) -> bytes:
    token = new_token()
    row = {"digest": digest(token), "session_id": session_id, "adding": adding, "expires_at": now + LASTS}
    await connection.execute(insert(challenge).values(**row))
    return token.encode()


async def _use_challenge(
    connection: AsyncConnection, signed_text: bytes, session_id: int | None, now: datetime, *, adding: bool
) -> None:
    """It is good once, however many answer it. Raises WrongCredentials."""
    used = delete(challenge).where(
        challenge.c.digest == digest(signed_text.decode("ascii")),
        challenge.c.session_id.is_not_distinct_from(session_id),
        challenge.c.adding.is_(adding),
        challenge.c.expires_at > now,
    )
    if not (await connection.execute(used)).rowcount:
        raise _wrong()


def _as_browsers_say(address: str) -> tuple[str, str]:
    """The origin and its host: in small letters, without the port that goes without saying."""
    parts = urlsplit(address)
    host, own = parts.hostname or "", {"https": 443, "http": 80}.get(parts.scheme)
    port = "" if parts.port in (None, own) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}", host


def _milliseconds(span: timedelta) -> int:
    return int(span / timedelta(milliseconds=1))


def _wrong() -> WrongCredentials:
    return WrongCredentials("This passkey was not accepted. Please try again.")
