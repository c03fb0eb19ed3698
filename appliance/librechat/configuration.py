"""librechat.yaml: which models LibreChat offers at which prices, and what else of it is on. Pure.

On is what is charged to whoever asks, or costs nothing. Off is what asks a model or another service without saying
for whom: speech, images that are made, embeddings, running code, searching the web, memories, servers of tools.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from appliance.librechat import RELEASE, USER_HEADER
from billing.prices.money import MICRODOLLARS_PER_DOLLAR
from billing.prices.rates import Prices

SCHEMA = "1.3.13"
"""The version of the file's format that the release reads."""
SERVICE_KEY = "CHAT_SERVICE_KEY"
"""The variable of LibreChat's environment by whose value it asks the API."""
TAKEN = frozenset({
    "agents", "anthropic", "assistants", "azureAssistants", "azureOpenAI", "bedrock", "custom", "google", "openAI",
})  # fmt: skip
"""Names of LibreChat's own endpoints: none of ours can be called so."""
NOT_SHARED = {"use": True, "create": True, "share": False, "public": False}
CALCULATOR = "calculator"
"""Of LibreChat's tools for agents, the one that asks nobody."""
OFF = dict.fromkeys(NOT_SHARED, False)


class NotRendered(Exception):
    """The file cannot be written as things are; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Offered:
    """A model that can chat; ``context_length`` is tokens, prompt and answer together."""

    id: str
    context_length: int
    prices: Prices


@dataclass(frozen=True, slots=True)
class Chosen:
    """What of the settings is in the file. ``api`` ends in /v1."""

    name: str
    api: str
    site: str
    files: bool
    temporary_hours: int
    shared_links: bool


def configuration(chosen: Chosen, models: Sequence[Offered]) -> str:
    """The whole file. Raises NotRendered."""
    if not models:
        raise NotRendered("there is no model that can chat: start the system, and try again once one has run")
    if chosen.name in TAKEN:
        raise NotRendered(f"site.name: LibreChat has something of its own called {chosen.name!r}")
    text = yaml.safe_dump(_document(chosen, models), sort_keys=False, allow_unicode=True)
    return (
        f"# Written by `appliance librechat render` for LibreChat {RELEASE}: what is changed here is lost.\n{text}"
    )


def _document(chosen: Chosen, models: Sequence[Offered]) -> Mapping[str, Any]:
    return {
        "version": SCHEMA,
        "cache": True,
        "includedTools": [CALCULATOR],
        "interface": _interface(chosen),
        "registration": {"socialLogins": ["openid"]},
        "balance": {"enabled": False},
        "transactions": {"enabled": False},
        "memory": {"disabled": True},
        # A browser's speech recognition sends what is said to its maker.
        "speech": {"speechTab": {"speechToText": False, "textToSpeech": False}},
        "fileStrategy": "local",
        # Images are shown to whoever gave them, not to whoever knows the address.
        "secureImageLinks": True,
        "fileConfig": {"endpoints": {"default": {"disabled": not chosen.files}}},
        "endpoints": {
            "agents": {"capabilities": ["tools", "context"]},
            "custom": [_endpoint(chosen, models)],
        },
    }


def _interface(chosen: Chosen) -> Mapping[str, Any]:
    return {
        "privacyPolicy": {"externalUrl": f"{chosen.site}/privacy", "openNewTab": True},
        "termsOfService": {"externalUrl": f"{chosen.site}/terms", "openNewTab": True},
        "modelSelect": True,
        "parameters": True,
        "multiConvo": True,
        "bookmarks": True,
        "presets": True,
        "prompts": NOT_SHARED.copy(),
        "temporaryChat": True,
        "temporaryChatRetention": chosen.temporary_hours,
        "retentionMode": "temporary",
        "contextUsage": True,
        "contextCost": True,
        # A link that somebody else made must not spend the credit of whoever opens it.
        "autoSubmitFromUrl": False,
        "memories": False,
        "runCode": False,
        "webSearch": False,
        "fileSearch": False,
        "fileCitations": False,
        "buildInfo": False,
        "agents": NOT_SHARED.copy(),
        "remoteAgents": OFF.copy(),
        "mcpServers": OFF.copy(),
        "skills": OFF.copy(),
        "marketplace": {"use": False},
        "peoplePicker": {"users": False, "groups": False, "roles": False},
        "sharedLinks": {"create": chosen.shared_links, "share": False, "public": False, "snapshotFiles": False},
    }


def _endpoint(chosen: Chosen, models: Sequence[Offered]) -> Mapping[str, Any]:
    return {
        "name": chosen.name,
        "apiKey": f"${{{SERVICE_KEY}}}",
        "baseURL": chosen.api,
        "headers": {USER_HEADER: "{{LIBRECHAT_USER_OPENIDID}}"},
        "models": {"default": [model.id for model in models], "fetch": False},
        "titleConvo": True,
        "titleModel": "current_model",
        "titleMethod": "completion",
        "modelDisplayLabel": chosen.name,
        "tokenConfig": {model.id: _tokens(model) for model in models},
    }


def _tokens(model: Offered) -> Mapping[str, float]:
    """LibreChat counts in dollars per million tokens."""
    return {
        "prompt": model.prices.input / MICRODOLLARS_PER_DOLLAR,
        "completion": model.prices.output / MICRODOLLARS_PER_DOLLAR,
        "cacheRead": model.prices.cached_input / MICRODOLLARS_PER_DOLLAR,
        "context": model.context_length,
    }
