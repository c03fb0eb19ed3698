"""The sandbox's state in a SQLite file: written after each request, read at the start."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import msgspec

from appliance.stripe_sandbox.state import State

TABLES = """
create table if not exists object (
    kind text not null, id text not null, place integer not null, body blob not null, primary key (kind, id)
) strict, without rowid;
create table if not exists value (name text primary key, body blob not null) strict, without rowid;
"""


class Storage:
    """One process at a time."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path)
        self._connection.executescript("pragma journal_mode = wal; pragma synchronous = normal;" + TABLES)

    def load(self) -> State:
        state = State()
        for kind, name, body in self._connection.execute("select kind, id, body from object order by place"):
            state.table(kind).put(name, msgspec.json.decode(body))
        for name, body in self._connection.execute("select name, body from value"):
            state.values[name] = msgspec.json.decode(body)
        return state

    def save(self, state: State) -> None:
        """Everything that changed since the last time, or nothing."""
        if not state.changed and not state.changed_values:
            return
        with self._connection:
            self._connection.executemany(
                "insert into object values (?, ?, ?, ?) on conflict do update set body = excluded.body",
                [
                    (kind, name, state.tables[kind].position[name], msgspec.json.encode(row))
                    for (kind, name), row in state.changed.items()
                    if row is not None
                ],
            )
            self._connection.executemany(
                "delete from object where kind = ? and id = ?",
                [key for key, row in state.changed.items() if row is None],
            )
            self._connection.executemany(
                "insert into value values (?, ?) on conflict do update set body = excluded.body",
                [(name, msgspec.json.encode(state.values[name])) for name in state.changed_values],
            )
        state.changed.clear()
        state.changed_values.clear()

    def close(self) -> None:
        self._connection.close()


def encoded(value: Any) -> bytes:
    return msgspec.json.encode(value)
