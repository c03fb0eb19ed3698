"""By which way a request came: ``api``, ``chat`` or ``playground``.

Its key tells: an account has one key for the chat and one for the playground, all others are for programs.
"""

from sqlalchemy import ColumnElement, FromClause, Table, func

from billing.database.purposes import PROGRAM
from billing.database.tables import api_key

API = "api"
"""Of keys for programs; the other channels have the name of their key's purpose."""


def of_key(purpose: str) -> str:
    return API if purpose == PROGRAM else purpose


def channel() -> ColumnElement[str]:
    """A column of what ``with_keys`` selects from."""
    return func.coalesce(func.nullif(api_key.c.purpose, PROGRAM), API).label("channel")


def with_keys(table: Table) -> FromClause:
    """``table`` has a ``key_id``. No row of it is lost."""
    return table.outerjoin(api_key, api_key.c.id == table.c.key_id)
