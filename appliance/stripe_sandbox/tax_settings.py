"""Whether Stripe Tax can reckon tax for the account. https://docs.stripe.com/api/tax/settings"""

from __future__ import annotations

from appliance.stripe_sandbox.params import Params
from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.world import World

PENDING = "tax_settings_lack"
"""In the state: what is missing, while it is."""


def retrieve(world: World, _params: Params) -> Object:
    lacks: list[str] = world.state.values.get(PENDING, [])
    home = {"country": world.settings.account_country}
    return {
        "object": "tax.settings",
        "defaults": {"provider": "stripe", "tax_behavior": "inferred_by_currency", "tax_code": "txcd_10000000"},
        "head_office": None
        if "head_office" in lacks
        else {"address": dict.fromkeys(("city", "line1", "line2", "postal_code", "state")) | home},
        "livemode": False,
        "status": "pending" if lacks else "active",
        "status_details": {"pending": {"missing_fields": lacks}} if lacks else {"active": {}},
    }
