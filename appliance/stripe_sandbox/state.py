"""All that the sandbox knows: objects by kind and id, in the order in which they were made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]
"""An object as Stripe shows it; what its name begins with ``_`` is never shown."""

INDEXED = ("customer", "payment_intent", "charge", "invoice", "source", "_subscription", "_payout", "_session")
"""Fields that lists are filtered by, and that never change once they have a value."""


class Table:
    """Of one kind."""

    def __init__(self) -> None:
        self.rows: dict[str, Object] = {}
        self.order: list[str] = []
        self.position: dict[str, int] = {}
        self.index: dict[tuple[str, str], dict[str, None]] = {}

    def put(self, name: str, row: Object) -> None:
        if name not in self.rows:
            self.position[name] = len(self.order)
            self.order.append(name)
        self.rows[name] = row
        for field in INDEXED:
            value = row.get(field)
            if isinstance(value, str):
                self.index.setdefault((field, value), {})[name] = None

    def remove(self, name: str) -> None:
        """Of kinds whose rows have no place in a list."""
        self.rows.pop(name, None)

    def newest(self, before: str | None = None) -> Iterator[Object]:
        start = len(self.order) if before is None else self.position[before]
        return self._rows(self.order[index] for index in range(start - 1, -1, -1))

    def oldest(self, after: str) -> Iterator[Object]:
        return self._rows(self.order[index] for index in range(self.position[after] + 1, len(self.order)))

    def having(self, field: str, value: str) -> list[Object]:
        """The oldest first."""
        return list(self._rows(self.index.get((field, value), ())))

    def _rows(self, names: Any) -> Iterator[Object]:
        return (self.rows[name] for name in names if name in self.rows)


class State:
    """``changed`` are the rows of which a file does not know yet; None means that one was removed."""

    def __init__(self) -> None:
        self.tables: dict[str, Table] = {}
        self.values: dict[str, Any] = {}
        self.changed: dict[tuple[str, str], Object | None] = {}
        self.changed_values: set[str] = set()

    def table(self, kind: str) -> Table:
        if kind not in self.tables:
            self.tables[kind] = Table()
        return self.tables[kind]

    def put(self, kind: str, name: str, row: Object) -> Object:
        self.table(kind).put(name, row)
        self.changed[kind, name] = row
        return row

    def remove(self, kind: str, name: str) -> None:
        self.table(kind).remove(name)
        self.changed[kind, name] = None

    def keep(self, name: str, value: Any) -> None:
        self.values[name] = value
        self.changed_values.add(name)
