"""Why a purchase cannot be given back, in the words of pages."""

from appliance.texts import Say
from billing.ledger.credit import Kept


def why_kept(kept: Kept | None, refund_days: int, say: Say) -> str:
    """An empty text if it can be."""
    if kept is None:
        return ""
    return {
        Kept.NOT_BOUGHT: say("It was not bought."),
        Kept.OVER: say("It is over."),
        Kept.USED: say("Some of it is used."),
        Kept.OLD: say("It was bought more than {days} days ago.", days=refund_days),
        Kept.CLAIMED: say("A request that is running may need it. Try again in a moment."),
        Kept.PAID_BACK: say("It is paid back, or a part of it."),
        Kept.DISPUTED: say("The payer's bank has asked for it."),
    }[kept]
