"""Writes LibreChat's two files: what is offered and what it costs now, by the settings and the secrets."""

from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path

from appliance import secrets
from appliance.librechat.configuration import Chosen, NotRendered, Offered, configuration
from appliance.librechat.environment import environment
from appliance.settings import MONGO_URI, Settings
from billing.prices.rates import Prices
from serving.catalog.declared import Declared
from serving.client.published import Directory
from serving.files import write_secret

CHAT = "/v1/chat/completions"
RENDERED = ("librechat.yaml", ".env")


def chat_models(settings: Settings, prices: Mapping[str, Prices]) -> list[Offered]:
    """Those of the running system that have a price and are known to chat, in the order of models.yaml."""
    running = Directory(settings.directory).models()
    return [
        Offered(model.id, model.context_length, prices[model.id])
        for model in Declared(settings.declared).models().values()
        if model.id in prices and model.id in running and CHAT in running[model.id].traits.endpoints
    ]


def render(settings: Settings, models: list[Offered], folder: Path) -> list[str]:
    """For their owner alone to read. Returns the names of those that are not what they were.

    Raises:
        NotRendered: something is missing, or cannot be written so; nothing was written.
        SecretsError: `up` has not made the secrets.
        OSError: the folder cannot be written.
    """
    if not settings.chat.address:
        raise NotRendered("appliance.yaml: chat.address: it says where customers find the chat, and is empty")
    if settings.mongo_uri is None:
        raise NotRendered(f"{MONGO_URI}: the address of LibreChat's database is expected")
    chosen = Chosen(
        name=settings.site.name,
        api=settings.chat_api_url,
        site=settings.site_url,
        files=bool(settings.chat.uploads and settings.chat.images),
        temporary_hours=settings.chat.temporary_hours,
        shared_links=settings.chat.shared_links,
    )
    own = secrets.read_librechat(settings.secrets)
    files = {
        RENDERED[0]: configuration(chosen, models),
        RENDERED[1]: environment(settings, secrets.read_chat(settings.secrets), own),
    }
    folder.mkdir(parents=True, exist_ok=True)
    return [name for name, text in files.items() if _written(folder / name, text)]


def rendered_by(settings: Settings, now: datetime) -> tuple[date, Mapping[str, int]]:
    """What asks for other files when it changes: the day, whose prices count, and the models that can chat."""
    running = Directory(settings.directory).models()
    lengths = {name: model.context_length for name, model in running.items() if CHAT in model.traits.endpoints}
    return now.date(), lengths


def texts(settings: Settings) -> list[str | None]:
    """The files as they are; None for one that is not there."""
    paths = (settings.librechat_home / name for name in RENDERED)
    return [path.read_text() if path.exists() else None for path in paths]


def _written(path: Path, text: str) -> bool:
    """Whether it is another one now. One that stays as it was is not touched: who watches it acts on a change."""
    if path.exists() and path.read_text() == text:
        return False
    write_secret(path, text)
    return True
