"""Who buys and who sells, as a document says it."""

import re
from datetime import datetime

import msgspec
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.database import sales

FIELD_CHARACTERS = 200


class Buyer(msgspec.Struct, frozen=True):
    """``country`` is ISO 3166-1 alpha-2. ``tax_number`` is a business's own, as it gave it."""

    name: str
    address: str
    postal_code: str
    city: str
    country: str
    business: bool
    tax_number: str | None = None


class Seller(msgspec.Struct, frozen=True):
    """The operator. ``number`` is the organisation's; ``registered``: it charges value added tax.

    ``register`` is where it is entered, where the law wants that said (foretaksregisterloven § 10-2).
    ``bank_account`` is an IBAN or a number of the seller's country: where invoices are paid by bank.
    """

    name: str
    address: str
    postal_code: str
    city: str
    country: str
    number: str
    registered: bool
    email: str = ""
    bank_account: str = ""
    register: str = ""


async def buyer_of(connection: AsyncConnection, account_id: int) -> Buyer | None:
    """As the account says now."""
    table = sales.buyer
    query = select(*(table.c[name] for name in Buyer.__struct_fields__)).where(table.c.account_id == account_id)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else Buyer(*row)


async def keep_buyer(connection: AsyncConnection, account_id: int, buyer: Buyer, now: datetime) -> None:
    """For the next document. Raises ValueError for a field that cannot stand on one, or no country."""
    texts = {name: getattr(buyer, name) for name in ("name", "address", "postal_code", "city")}
    for name, text in texts.items():
        if not text.strip() or not _is_line(text):
            raise ValueError(f"{name}: a line of 1 to {FIELD_CHARACTERS} characters is expected")
    if re.fullmatch("[A-Z]{2}", buyer.country) is None:
        raise ValueError("country: two letters are expected, as ISO 3166 has them")
    if buyer.tax_number is not None and not _is_line(buyer.tax_number):
        raise ValueError(f"tax_number: a line of at most {FIELD_CHARACTERS} characters is expected")
    values = {"account_id": account_id, "updated_at": now} | msgspec.structs.asdict(buyer)
    statement = insert(sales.buyer).values(values)
    await connection.execute(statement.on_conflict_do_update(index_elements=["account_id"], set_=values))


def _is_line(text: str) -> bool:
    return len(text) <= FIELD_CHARACTERS and text.isprintable()
