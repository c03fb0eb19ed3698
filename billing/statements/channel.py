"""By which way a request came: ``api``, ``chat`` or ``playground``.

Its key tells: an account has one key for the chat and one for the playground, all others are for programs.
"""

from sqlalchemy import ColumnElement, FromClause, Table, func

from billing.database.tables import api_key

API, CHAT, PLAYGROUND = "api", "chat", "playground"
OF_PROGRAMS = "program"
"""A key's purpose; the others have their channel's name."""


def of_key(purpose: str) -> str:
    return API if purpose == OF_PROGRAMS else purpose


def channel() -> ColumnElement[str]:
    """A column of what ``with_keys`` selects from."""
    return func.coalesce(func.nullif(api_key.c.purpose, OF_PROGRAMS), API).label("channel")


def with_keys(table: Table) -> FromClause:
    """``table`` has a ``key_id``. No row of it is lost."""
    return table.outerjoin(api_key, api_key.c.id == table.c.key_id)
