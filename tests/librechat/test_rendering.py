"""The files that LibreChat is started with: valid by its schema, private, the same while nothing changes."""

import json
import re
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from appliance import secrets
from appliance.cli import app
from appliance.librechat import RELEASE
from appliance.librechat.configuration import Chosen, NotRendered, Offered, configuration
from appliance.librechat.environment import environment
from appliance.settings import Settings, load_settings
from billing.prices.rates import Prices
from serving.catalog.declared import declare

Run = Callable[..., Result]
SHARES = {"use", "create", "share", "public"}
SCHEMA: dict[str, Any] = {
    "version": str,
    "cache": bool,
    "interface": {
        "privacyPolicy": {"externalUrl": str, "openNewTab": bool},
        "termsOfService": {"externalUrl": str, "openNewTab": bool},
        "modelSelect": bool, "parameters": bool, "multiConvo": bool, "bookmarks": bool, "memories": bool,
        "presets": bool, "temporaryChat": bool, "temporaryChatRetention": int, "autoSubmitFromUrl": bool,
        "retentionMode": str, "runCode": bool, "webSearch": bool, "contextUsage": bool, "contextCost": bool,
        "fileSearch": bool, "fileCitations": bool, "buildInfo": bool,
        "prompts": dict.fromkeys(SHARES, bool), "agents": dict.fromkeys(SHARES, bool),
        "remoteAgents": dict.fromkeys(SHARES, bool), "mcpServers": dict.fromkeys(SHARES, bool),
        "skills": dict.fromkeys(SHARES, bool), "marketplace": {"use": bool},
        "peoplePicker": {"users": bool, "groups": bool, "roles": bool},
        "sharedLinks": {"create": bool, "share": bool, "public": bool, "snapshotFiles": bool},
    },
    "registration": {"socialLogins": list},
    "balance": {"enabled": bool},
    "transactions": {"enabled": bool},
    "memory": {"disabled": bool},
    "speech": {"speechTab": {"speechToText": bool, "textToSpeech": bool}},
    "fileStrategy": str,
    "secureImageLinks": bool,
    "includedTools": list,
    "fileConfig": {"endpoints": {"default": {"disabled": bool}}},
    "endpoints": {
        "agents": {"capabilities": list},
        "custom": [{
            "name": str, "apiKey": str, "baseURL": str, "headers": {"X-Appliance-User": str},
            "models": {"default": list, "fetch": bool}, "titleConvo": bool, "titleModel": str, "titleMethod": str,
            "modelDisplayLabel": str,
            "tokenConfig": {"smollm2": {"prompt": float, "completion": float, "cacheRead": float, "context": int}},
        }],
    },
}  # fmt: skip
"""What LibreChat v0.8.7 takes of this, from its packages/data-provider/src/config.ts: names and types."""
assert RELEASE == "v0.8.7", "another release may take other names: read its config.ts"
CHOSEN = Chosen("Example", "http://127.0.0.1:8000/v1", "https://example.com", True, 720, False)
MODEL = Offered("smollm2", 2048, Prices(100_000, 20_000, 400_000))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where a system runs with one model that chats, one that does not, and one that has never run."""
    (tmp_path / "run").mkdir()
    secrets.create(tmp_path / "secrets")
    (smollm2, minilm) = load_settings({}).models
    declare(tmp_path / "run" / "models.json", (smollm2, minilm, replace(smollm2, id="asleep")))
    entry = {"state": "running", "message": "", "context_length": 2048, "replicas": []}
    traits = {"smollm2": ["/v1/chat/completions"], "minilm": ["/v1/embeddings"], "asleep": []}
    models = {name: entry | {"traits": {"endpoints": able}} for name, able in traits.items()}
    (tmp_path / "run" / "directory.json").write_text(json.dumps({"published_at": 0, "models": models}))
    return tmp_path


@pytest.fixture
def run(home: Path, fresh_url: str) -> Run:
    """Runs a command as an operator would who has a chat."""
    config = home / "appliance.yaml"
    config.write_text(
        "site: {name: Example, address: https://example.com}\nchat: {address: https://chat.example.com}\n"
    )
    runner = CliRunner(
        env={
            "APPLIANCE_HOME": str(home),
            "DATABASE_URL": fresh_url,
            "MONGO_URI": "mongodb://user:it%27s#1@localhost/LibreChat",
            "APPLIANCE_CONFIG": str(config),
        }
    )
    return lambda *arguments: runner.invoke(app, arguments)


def test_every_name_is_one_that_librechat_knows_and_has_its_type() -> None:
    def hold(value: Any, known: Any, where: str) -> None:
        if isinstance(known, dict):
            assert isinstance(value, dict), where
            assert set(value) <= set(known), f"{where}: LibreChat does not know {set(value) - set(known)}"
            for name, inner in value.items():
                hold(inner, known[name], f"{where}.{name}")
        elif isinstance(known, list):
            for inner in value:
                hold(inner, known[0], where)
        else:
            assert type(value) is known, where

    hold(yaml.safe_load(configuration(CHOSEN, [MODEL])), SCHEMA, "librechat.yaml")


def test_prices_are_dollars_for_a_million_tokens_and_nobody_else_asks_for_the_user() -> None:
    document = yaml.safe_load(configuration(CHOSEN, [MODEL]))
    (endpoint,) = document["endpoints"]["custom"]
    assert endpoint["tokenConfig"]["smollm2"] == {
        "prompt": 0.1, "completion": 0.4, "cacheRead": 0.02, "context": 2048,
    }  # fmt: skip
    assert endpoint["headers"] == {"X-Appliance-User": "{{LIBRECHAT_USER_OPENIDID}}"}
    assert endpoint["apiKey"] == "${CHAT_SERVICE_KEY}"
    assert list(document["endpoints"]) == ["agents", "custom"]
    assert document["includedTools"] == ["calculator"], "any other tool asks somebody else"
    assert document["speech"] == {"speechTab": {"speechToText": False, "textToSpeech": False}}
    nameless = ("webSearch", "mcpServers", "ocr", "actions", "summarization")
    assert not set(nameless) & set(document)


@pytest.mark.parametrize("files", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_what_the_operator_chooses_is_in_the_file(files: bool, shared: bool) -> None:
    chosen = replace(CHOSEN, files=files, shared_links=shared, temporary_hours=24)
    document = yaml.safe_load(configuration(chosen, [MODEL]))
    assert document["fileConfig"]["endpoints"]["default"]["disabled"] is not files
    assert document["interface"]["sharedLinks"]["create"] is shared
    assert document["interface"]["temporaryChatRetention"] == 24


@pytest.mark.parametrize(
    ("chosen", "models", "said"),
    [
        (CHOSEN, [], "there is no model that can chat"),
        (replace(CHOSEN, name="google"), [MODEL], "something of its own called 'google'"),
    ],
)
def test_what_cannot_be_is_said(chosen: Chosen, models: list[Offered], said: str) -> None:
    with pytest.raises(NotRendered, match=said):
        configuration(chosen, models)


def test_the_command_writes_both_files_once_for_their_owner_alone(run: Run, home: Path) -> None:
    assert (
        run("rate", "set", "smollm2", "--input", "0.10", "--cached-input", "0.02", "--output", "0.40").exit_code
        == 0
    )
    assert (
        run("rate", "set", "minilm", "--input", "0.01", "--cached-input", "0.01", "--output", "0").exit_code == 0
    )
    first = run("librechat", "render")
    assert "librechat.yaml and .env in" in first.output, first.output
    files = [home / "librechat" / name for name in ("librechat.yaml", ".env")]
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600, 0o600]
    before = [file.read_bytes() for file in files]
    assert "as it was" in run("librechat", "render").output
    assert [file.read_bytes() for file in files] == before
    (endpoint,) = yaml.safe_load(before[0])["endpoints"]["custom"]
    assert endpoint["models"] == {"default": ["smollm2"], "fetch": False}
    run("rate", "set", "smollm2", "--input", "1", "--cached-input", "1", "--output", "1", "--emergency", "a test")
    again = run("librechat", "render")
    assert "librechat.yaml in" in again.output
    (endpoint,) = yaml.safe_load(files[0].read_text())["endpoints"]["custom"]
    assert endpoint["tokenConfig"]["smollm2"]["prompt"] == 1.0


def test_secrets_are_in_the_environment_and_in_no_other_file(run: Run, home: Path) -> None:
    run("rate", "set", "smollm2", "--input", "0.10", "--cached-input", "0.02", "--output", "0.40")
    run("librechat", "render", str(home / "elsewhere"))
    text = (home / "elsewhere" / ".env").read_text()
    values = dict(line.split("=", 1) for line in text.splitlines()[1:])
    assert re.fullmatch("[0-9a-f]{64}", values["CREDS_KEY"])
    assert re.fullmatch("[0-9a-f]{32}", values["CREDS_IV"])
    hexadecimal = [values[name] for name in ("JWT_SECRET", "JWT_REFRESH_SECRET", "OPENID_SESSION_SECRET")]
    assert len({*hexadecimal, values["CREDS_KEY"], values["METRICS_SECRET"]}) == 5
    own = secrets.read_chat(home / "secrets")
    assert (values["CHAT_SERVICE_KEY"], values["OPENID_CLIENT_SECRET"]) == (own.service_key, own.client_secret)
    assert values["MONGO_URI"] == "'mongodb://user:it%27s#1@localhost/LibreChat'"
    document = (home / "elsewhere" / "librechat.yaml").read_text()
    assert not [name for name, value in values.items() if "SECRET" in name and value in document]
    assert own.service_key not in document


def test_people_sign_on_at_the_site_and_in_no_other_way(run: Run, home: Path) -> None:
    """As decision 37 has it: what is not here would open another way, or keep a sign-on beyond its end."""
    run("rate", "set", "smollm2", "--input", "0.10", "--cached-input", "0.02", "--output", "0.40")
    run("librechat", "render")
    text = (home / "librechat" / ".env").read_text()
    values = dict(line.split("=", 1) for line in text.splitlines()[1:])
    secret = {"OPENID_CLIENT_SECRET", "OPENID_SESSION_SECRET"}
    ways = ("OPENID_", "ALLOW_", "NODE_ENV", "DOMAIN_")
    assert {name: value for name, value in values.items() if name.startswith(ways) and name not in secret} == {
        "NODE_ENV": "production",
        "DOMAIN_CLIENT": "https://chat.example.com",
        "DOMAIN_SERVER": "https://chat.example.com",
        "OPENID_ISSUER": "https://example.com",
        "OPENID_CLIENT_ID": "librechat",
        "OPENID_SCOPE": "'openid profile email'",
        "OPENID_CALLBACK_URL": "/oauth/openid/callback",
        "OPENID_USE_PKCE": "true",
        "OPENID_GENERATE_NONCE": "true",
        "OPENID_NAME_CLAIM": "name",
        "OPENID_BUTTON_LABEL": "Example",
        "OPENID_AUTO_REDIRECT": "true",
        "OPENID_REUSE_TOKENS": "true",
        "OPENID_USE_END_SESSION_ENDPOINT": "true",
        "ALLOW_SOCIAL_LOGIN": "true",
        "ALLOW_SOCIAL_REGISTRATION": "true",
        "ALLOW_EMAIL_LOGIN": "false",
        "ALLOW_REGISTRATION": "false",
        "ALLOW_PASSWORD_RESET": "false",
        "ALLOW_ACCOUNT_DELETION": "false",
        "ALLOW_SHARED_LINKS": "false",
        "ALLOW_SHARED_LINKS_PUBLIC": "false",
    }


@pytest.mark.parametrize(
    ("site", "footer"),
    [
        ({"name": "Example"}, "[Example](https://example.com)"),
        (
            {"name": "Example", "company": "A|B [and] Ørsted"},
            "[A&#124;B &#91;and&#93; &#216;rsted](https://example.com)",
        ),
    ],
)
def test_the_footer_names_the_operator(home: Path, site: dict[str, str], footer: str) -> None:
    config = home / "appliance.yaml"
    config.write_text(json.dumps({"site": {"address": "https://example.com", **site}}))
    settings = load_settings({"APPLIANCE_HOME": str(home), "APPLIANCE_CONFIG": str(config)})
    text = environment(settings, secrets.read_chat(settings.secrets), secrets.read_librechat(settings.secrets))
    assert f"CUSTOM_FOOTER='{footer}'" in text.splitlines()


def test_an_office_of_many_can_sign_on_within_a_minute(run: Run, home: Path) -> None:
    run("rate", "set", "smollm2", "--input", "0.10", "--cached-input", "0.02", "--output", "0.40")
    run("librechat", "render")
    env = (home / "librechat" / ".env").read_text().splitlines()
    assert {"LOGIN_MAX=1000", "BAN_VIOLATIONS=false", "LIMIT_MESSAGE_IP=false"} <= set(env)


def test_a_value_that_no_such_file_can_hold_is_refused(home: Path) -> None:
    settings: Settings = load_settings({"APPLIANCE_HOME": str(home)})
    chat, own = secrets.read_chat(settings.secrets), secrets.read_librechat(settings.secrets)
    with pytest.raises(NotRendered, match="MONGO_URI"):
        environment(replace(settings, mongo_uri="mongodb://user:it's@localhost"), chat, own)


def test_without_a_chat_nothing_is_written(home: Path) -> None:
    result = CliRunner(env={"APPLIANCE_HOME": str(home)}).invoke(app, ("librechat", "render"))
    assert result.exit_code == 1
    assert not (home / "librechat").exists()
