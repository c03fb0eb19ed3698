"""Ten codes to be written down, each good once, for the day on which authenticator or passkey is lost."""

import base64
import secrets

from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.identity.tables import recovery_code
from appliance.identity.tokens import digest

CODES, CODE_BYTES, GROUP = 10, 16, 4


async def renew(connection: AsyncConnection, account_id: int) -> list[str]:
    """New ones, which are shown once and replace those before."""
    codes = [_new_code() for _ in range(CODES)]
    await drop(connection, account_id)
    rows = [{"account_id": account_id, "digest": _digest(code)} for code in codes]
    await connection.execute(insert(recovery_code), rows)
    return codes


async def use(connection: AsyncConnection, account_id: int, code: str) -> bool:
    """Whether it is one of the account's; it is none any more."""
    mine = recovery_code.c.account_id == account_id
    used = delete(recovery_code).where(mine, recovery_code.c.digest == _digest(code))
    return bool((await connection.execute(used)).rowcount)


async def drop(connection: AsyncConnection, account_id: int) -> None:
    await connection.execute(delete(recovery_code).where(recovery_code.c.account_id == account_id))


async def left(connection: AsyncConnection, account_id: int) -> int:
    query = select(func.count()).where(recovery_code.c.account_id == account_id)
    return int((await connection.execute(query)).scalar_one())


def _new_code() -> str:
    """128 random bits, in groups that can be written down: so many need no salt and no slow hash."""
    letters = base64.b32encode(secrets.token_bytes(CODE_BYTES)).decode().rstrip("=").lower()
    return "-".join(letters[at : at + GROUP] for at in range(0, len(letters), GROUP))


def _digest(code: str) -> bytes:
    """However it is written: in large letters, with or without the dashes."""
    return digest("".join(code.split()).replace("-", "").lower())
