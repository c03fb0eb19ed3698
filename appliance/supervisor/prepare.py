"""What has to be there before the services of a machine start: `appliance prepare` makes it, and ends."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable

from appliance.settings import Settings, SettingsError
from appliance.supervisor.initialise import initialise
from appliance.supervisor.join import joined
from appliance.supervisor.layout import (
    lay_out,
    require_what_the_first_node_has,
    require_what_the_first_node_needs,
)
from billing.clock import system_clock


class PrepareError(Exception):
    """A model could not be converted or downloaded; its own message has been printed."""


def prepare(settings: Settings, first: str | None, say: Callable[[str], None], *, with_models: bool) -> None:
    """Of the first node, or of one that joins ``first``: `host:port` of the first node's Ray.

    It changes nothing that runs, and may run at any time.

    Raises:
        SettingsError, SecretsError: something is missing or wrong.
        Conflict: the database is of another kind of start.
        PrepareError: with ``with_models``.
    """
    if settings.database_url is None:
        raise SettingsError("DATABASE_URL: services need a PostgreSQL of yours: the embedded one is `up`'s")
    for folder in (settings.run / "metrics", settings.logs):
        folder.mkdir(parents=True, exist_ok=True)
    if first is None:
        require_what_the_first_node_needs(settings)
        lay_out(settings)
        for line in asyncio.run(initialise(settings, system_clock)):
            say(line)
    else:
        require_what_the_first_node_has(settings)
        joined(settings, first)  # an address that is none is named here
        settings.joined_to.write_text(f"{first}\n")
    if with_models:
        _prepare_models(settings)


def _prepare_models(settings: Settings) -> None:
    for model in settings.models:
        if model.partner is None:
            arguments = (model.source, model.id, str(settings.home / "models"))
            done = subprocess.run([sys.executable, "-m", "serving.weights.prepare", *arguments], check=False)
            if done.returncode != 0:
                raise PrepareError(f"{model.id} could not be prepared")
