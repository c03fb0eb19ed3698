"""Usage records in a file: CSV for people and spreadsheets, Parquet for programs."""

import os
from collections.abc import AsyncIterable, Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
from pyarrow import csv, parquet
from sqlalchemy import Row

COLUMNS = {
    "request_id": pa.string(),
    "account_id": pa.int64(),
    "key_id": pa.int64(),
    "model": pa.string(),
    "endpoint": pa.string(),
    "channel": pa.string(),
    "prompt_tokens": pa.int64(),
    "cached_tokens": pa.int64(),
    "completion_tokens": pa.int64(),
    "images": pa.int32(),
    "audio_seconds": pa.int32(),
    "rate_id": pa.int64(),
    "cost_nanodollars": pa.int64(),
    "ended": pa.string(),
    "created_at": pa.timestamp("us", tz="UTC"),
    "settled_at": pa.timestamp("us", tz="UTC"),
    "cost_usd": pa.decimal128(28, 9),
}
SCHEMA = pa.schema(list(COLUMNS.items()))


class Writer(Protocol):
    """Of ``pyarrow``."""

    def write_table(self, table: pa.Table) -> None: ...

    def close(self) -> None: ...


def _parquet(path: Path) -> Writer:
    writer: Writer = parquet.ParquetWriter(path, SCHEMA, compression="zstd")
    return writer


def _csv(path: Path) -> Writer:
    writer: Writer = csv.CSVWriter(path, SCHEMA)
    return writer


FORMATS: dict[str, Callable[[Path], Writer]] = {".csv": _csv, ".parquet": _parquet}
"""By the file's suffix."""


@dataclass(frozen=True, slots=True)
class Exported:
    """``nanodollars`` is what the records cost together."""

    records: int
    nanodollars: int


async def write_usage(
    path: Path, pages: AsyncIterable[Sequence[Row[Any]]], progress: Callable[[int], None]
) -> Exported:
    """Writes the pages, columns and types as in ``COLUMNS``; ``progress`` is told the records so far.

    The file is there whole or not at all, readable by its owner only; one that was there is replaced. Raises
    OSError, and ValueError for a suffix that is not in ``FORMATS``.
    """
    if path.suffix not in FORMATS:
        raise ValueError(f"the file's name must end in {' or '.join(FORMATS)}: {path}")
    draft = path.with_name(f".{path.name}.draft")
    draft.touch(mode=0o600)
    draft.chmod(0o600)
    records = nanodollars = 0
    try:
        writer = FORMATS[path.suffix](draft)
        async for page in pages:
            writer.write_table(_table(page))
            records += len(page)
            nanodollars += sum(row.cost_nanodollars for row in page)
            progress(records)
        writer.close()
        with draft.open("rb") as written:
            os.fsync(written.fileno())
        draft.rename(path)
    finally:
        draft.unlink(missing_ok=True)
    return Exported(records, nanodollars)


def _table(page: Sequence[Row[Any]]) -> pa.Table:
    columns: dict[str, list[object]] = {
        name: [getattr(row, name) for row in page] for name in COLUMNS if name not in ("request_id", "cost_usd")
    }
    columns["request_id"] = [str(row.request_id) for row in page]
    columns["cost_usd"] = [Decimal(row.cost_nanodollars).scaleb(-9) for row in page]
    return pa.table(columns, schema=SCHEMA)
