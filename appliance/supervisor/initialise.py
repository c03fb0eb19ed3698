"""What the database needs before anybody asks it: its newest version, the first accounts, rates and plans."""

from __future__ import annotations

from appliance.bootstrap import OPERATOR, bootstrap
from appliance.identity.first import keep_first_link
from appliance.news.telling import announce_terms
from appliance.settings import Settings
from appliance.till import require_right_start
from appliance.web.legal import read_legal_texts
from billing.clock import Clock
from billing.database.migrations import upgrade


async def initialise(settings: Settings, clock: Clock) -> list[str]:
    """What the operator should know, a line each. Every start does it; what is done stays as it is.

    Raises:
        SettingsError: a legal text cannot be used.
        Conflict: the database is of another kind of start, such as one with real money.
    """
    legal = read_legal_texts(settings)
    await upgrade(settings.sqlalchemy_url)
    await require_right_start(settings)
    different = (await bootstrap(settings, clock)).different_rates
    await keep_first_link(settings, OPERATOR)
    await announce_terms(settings, legal.terms.version, clock)
    return [
        f"{model} costs something else than models.yaml says; `appliance rate` changes what it costs"
        for model in different
    ]
