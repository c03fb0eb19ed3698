"""The books as a table: a row for each entry."""

from collections.abc import Iterator, Mapping
from decimal import Decimal

from billing.books.reading import Books

COLUMNS = (
    "voucher", "day", "journal", "text", "account", "account_title", "debit", "credit", "currency", "amount_usd",
    "rate", "customer", "document", "tax_code", "tax_base", "tax",
)  # fmt: skip


def rows(books: Books) -> Iterator[Mapping[str, object]]:
    for voucher in books.vouchers:
        for entry in voucher.entries:
            tax = entry.tax
            yield {
                "voucher": voucher.id,
                "day": voucher.day.isoformat(),
                "journal": voucher.journal,
                "text": voucher.text,
                "account": entry.account.number,
                "account_title": entry.account.title,
                "debit": _money(entry.amount) if entry.amount > 0 else "",
                "credit": _money(-entry.amount) if entry.amount < 0 else "",
                "currency": books.currency,
                "amount_usd": "" if entry.usd_cents is None else _money(entry.usd_cents),
                "rate": "" if entry.rate is None else f"{entry.rate:f}",
                "customer": "" if entry.customer is None else entry.customer,
                "document": voucher.document or "",
                "tax_code": "" if tax is None else tax.code,
                "tax_base": "" if tax is None else _money(tax.base),
                "tax": "" if tax is None else _money(tax.amount),
            }


def _money(hundredths: int) -> str:
    return f"{Decimal(hundredths).scaleb(-2):.2f}"
