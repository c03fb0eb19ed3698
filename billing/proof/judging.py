"""What is amiss in the parts of one payment, refund or dispute. Pure.

A part that is not there may be on its way, and is a difference once all the others are old. One that is not what
it should be is one at once.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from billing.prices.money import NANODOLLARS_PER_CENT

CREDITED, UNWANTED = "credited", "unwanted"
OF_CREDIT = ("credit", "top_up")
LEFT_THE_LEDGER = ("taken", "sent", "done", "failed", "otherwise")
LEFT_STRIPE = ("sent", "done")
AT_STRIPE_ALONE = {
    "charge": "paid at Stripe, for no payment of ours",
    "payment": "paid at Stripe, for no payment of ours",
    "refund": "refunded at Stripe, not here",
    "payment_refund": "refunded at Stripe, not here",
    "dispute": "disputed at Stripe, not here",
}

Parts = Mapping[str, Any]
"""A row of one of the queries of ``billing.proof.parts``."""


class Fault(msgspec.Struct, frozen=True):
    """``may_come``: what lacks may be on its way."""

    what: str
    may_come: bool = False


class Item(msgspec.Struct, frozen=True):
    """``here_cents`` is what should have moved by the row's state: negative for what went."""

    kind: str
    subject: str
    here_cents: int
    faults: Sequence[Fault]


def payment(parts: Parts) -> Item:
    paid = parts["state"] in (CREDITED, UNWANTED)
    faults = (_charged(parts), _credited(parts), _lot(parts), _receipt(parts), _unwanted(parts))
    return _item(parts["kind"], f"payment {parts['id']}", parts["gross_cents"] if paid else 0, faults)


def _charged(parts: Parts) -> Fault | None:
    paid, charges, gross = parts["state"] in (CREDITED, UNWANTED), parts["charges"], parts["gross_cents"]
    if charges and parts["way"] != "stripe":
        return Fault("noted as paid by bank, and paid at Stripe too")
    if charges and not paid:
        return Fault("paid at Stripe, no credit here", may_come=True)
    if charges > 1:
        return Fault("charged more than once at Stripe")
    if charges and parts["stripe_cents"] != gross:
        return Fault("another amount was paid at Stripe than was asked")
    if paid and gross and not charges and parts["way"] == "stripe":
        return Fault("credit here, nothing paid at Stripe", may_come=True)
    return None


def _credited(parts: Parts) -> Fault | None:
    credited, moved = parts["state"] == CREDITED, parts["ledger"]
    if moved and not credited:
        return Fault("moved in the ledger, not noted as credited")
    if not credited or moved == parts["gross_cents"] * NANODOLLARS_PER_CENT:
        return None
    if not moved:
        return Fault("noted as credited, nothing moved in the ledger", may_come=True)
    return Fault("another amount moved in the ledger than was paid")


def _lot(parts: Parts) -> Fault | None:
    if parts["state"] != CREDITED or parts["kind"] not in OF_CREDIT:
        return None
    if parts["lot_nanodollars"] is None:
        return Fault("credited without a lot", may_come=True)
    same = parts["lot_nanodollars"] == parts["value_nanodollars"]
    return None if same else Fault("a lot of another amount than was bought")


def _receipt(parts: Parts) -> Fault | None:
    paid, gross = parts["state"] in (CREDITED, UNWANTED), parts["gross_cents"]
    if not parts["documents"]:
        lacks = paid and gross and parts["kind"] != "invoice"
        return Fault("no document", may_come=True) if lacks else None
    if not paid:
        return Fault("a document of what was not paid")
    return None if parts["document_cents"] == gross else Fault("a document of another amount")


def _unwanted(parts: Parts) -> Fault | None:
    lost = parts["state"] == UNWANTED and not parts["refunds"]
    return Fault("paid, but neither credited nor given back", may_come=True) if lost else None


def refund(parts: Parts) -> Item:
    here = -parts["gross_cents"] if parts["state"] in LEFT_THE_LEDGER else 0
    faults = (_gone(parts), _taken(parts), _credit_note(parts))
    return _item("refund", f"refund {parts['id']}", here, faults)


def _gone(parts: Parts) -> Fault | None:
    gone, moved = parts["state"] in LEFT_STRIPE, parts["stripe_cents"]
    if moved and not gone:
        return Fault("refunded at Stripe, not here", may_come=True)
    if not gone or moved == -parts["gross_cents"]:
        return None
    if not moved:
        return Fault("refunded here, not at Stripe", may_come=True)
    return Fault("another amount was refunded at Stripe than here")


def _taken(parts: Parts) -> Fault | None:
    left = parts["state"] in LEFT_THE_LEDGER and parts["payment_state"] == CREDITED
    moved, expected = parts["ledger"], -parts["gross_cents"] * NANODOLLARS_PER_CENT
    if moved and not left:
        return Fault("moved in the ledger, not noted as refunded")
    if not left or moved == expected:
        return None
    if not moved:
        return Fault("refunded, nothing moved in the ledger", may_come=True)
    return Fault("another amount moved in the ledger than was refunded")


def _credit_note(parts: Parts) -> Fault | None:
    if not parts["documents"]:
        unwanted_of_invoice = parts["payment_kind"] == "invoice" and parts["payment_state"] == UNWANTED
        lacks = parts["state"] in ("done", "otherwise") and not unwanted_of_invoice
        return Fault("no document", may_come=True) if lacks else None
    if parts["state"] not in LEFT_THE_LEDGER:
        return Fault("a document of what was not refunded")
    return None if parts["document_cents"] == -parts["gross_cents"] else Fault("a document of another amount")


def dispute(parts: Parts) -> Item:
    withdrawn = -parts["cents"] if parts["state"] in ("open", "lost") else 0
    return _item(
        "dispute", f"dispute {parts['id']}", withdrawn, (_withdrawn(parts, withdrawn), _lost(parts, withdrawn))
    )


def _withdrawn(parts: Parts, withdrawn: int) -> Fault | None:
    moved = parts["stripe_cents"]
    if moved == withdrawn:
        return None
    if not moved:
        return Fault("disputed here, nothing taken at Stripe", may_come=True)
    if not withdrawn:
        return Fault(f"taken at Stripe, but {parts['state']} here", may_come=True)
    return Fault("another amount was taken at Stripe than is disputed")


def _lost(parts: Parts, withdrawn: int) -> Fault | None:
    lost = parts["state"] == "lost" and parts["payment_state"] == CREDITED
    moved = parts["ledger"]
    if moved and not lost:
        return Fault("moved in the ledger, but the dispute is not lost")
    if not lost or moved == withdrawn * NANODOLLARS_PER_CENT:
        return None
    if not moved:
        return Fault("a dispute is lost, nothing moved in the ledger", may_come=True)
    return Fault("another amount moved in the ledger than was disputed")


def movement(parts: Parts) -> Item:
    """Of no payment, refund or dispute of ours. Payouts and fees have none."""
    what = AT_STRIPE_ALONE.get(parts["kind"])
    came_back = parts["net"] == 0  # a refund that failed, and was made once more as another
    fault = None if what is None or came_back else Fault(what, may_come=True)
    return _item(parts["kind"], f"movement {parts['id']}", 0, (fault,))


def transfer(parts: Parts) -> Item:
    """The same in the ledger. What a customer owed, the operator may have noted by hand."""
    if parts["kind"] == "payment":
        return _item("by hand", f"transfer {parts['id']}", 0, ())
    came = "credit here, of no payment" if parts["ledger"] > 0 else "given back here, of no refund or dispute"
    return _item(parts["kind"], f"transfer {parts['id']}", 0, (Fault(came, may_come=True),))


def recorded(parts: Parts) -> Item:
    what = "recorded here, not at Stripe" if parts["gone"] else "recorded here otherwise than Stripe has it"
    return _item(parts["kind"], f"movement {parts['id']}", 0, (Fault(what),))


def _item(kind: str, subject: str, here_cents: int, faults: Sequence[Fault | None]) -> Item:
    return Item(kind, subject, here_cents, [fault for fault in faults if fault is not None])
