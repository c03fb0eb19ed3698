"""What has to be told of payments, to the owner of an account or to the operator. Mail is made of it elsewhere."""

import json
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.database.db import execute

TO_OPERATOR = "operator:"
"""Kinds of notices that begin with it are for the operator. Of a person they have the account's id alone."""

_TELL = """
INSERT INTO notice (created_at, kind, account_id, subject, body) VALUES ($1, $2, $3, $4, $5::text::jsonb)
ON CONFLICT DO NOTHING
"""


async def tell_owner(
    connection: AsyncConnection,
    account_id: int,
    kind: str,
    subject: str,
    body: Mapping[str, object],
    now: datetime,
) -> None:
    """Once for each subject."""
    await execute(connection, _TELL, now, kind, account_id, subject, json.dumps(body))


async def tell_operator(
    connection: AsyncConnection, kind: str, subject: str, body: Mapping[str, object], now: datetime
) -> None:
    """Once for each subject."""
    await execute(connection, _TELL, now, TO_OPERATOR + kind, None, subject, json.dumps(body))
