"""The operator's own account at Stripe. https://docs.stripe.com/api/accounts"""

from __future__ import annotations

from appliance.stripe_sandbox.balance import settles_in
from appliance.stripe_sandbox.params import Params
from appliance.stripe_sandbox.state import Object
from appliance.stripe_sandbox.world import World

ACCOUNT = "acct_sandbox"


def retrieve(world: World, _params: Params) -> Object:
    return {
        "id": ACCOUNT,
        "object": "account",
        "business_type": "company",
        "capabilities": {"card_payments": "active", "transfers": "active"},
        "charges_enabled": True,
        "country": world.settings.account_country,
        "created": world.state.values["began"],
        "default_currency": settles_in(world),
        "details_submitted": True,
        "email": "operator@example.com",
        "payouts_enabled": True,
        "settings": {
            "branding": {"icon": None, "logo": None, "primary_color": None, "secondary_color": None},
            "card_payments": {
                "decline_on": {"avs_failure": False, "cvc_failure": False},
                "statement_descriptor_prefix": None,
                "statement_descriptor_prefix_kana": None,
                "statement_descriptor_prefix_kanji": None,
            },
            "dashboard": {"display_name": "Sandbox", "timezone": "Etc/UTC"},
            "payments": {
                "statement_descriptor": "SANDBOX",
                "statement_descriptor_kana": None,
                "statement_descriptor_kanji": None,
                "statement_descriptor_prefix_kana": None,
                "statement_descriptor_prefix_kanji": None,
            },
        },
        "type": "standard",
    }
