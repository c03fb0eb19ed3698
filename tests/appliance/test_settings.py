"""Settings: defaults that match the files, errors that name the field."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import yaml

from appliance.settings import CONFIGS, Document, SettingsError, load_settings


def test_the_shipped_files_can_be_used_and_state_is_kept_under_var() -> None:
    settings = load_settings({})
    assert settings.home == Path("var").resolve()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.database_url is None
    assert settings.models


def test_the_shipped_file_shows_every_default() -> None:
    shown = yaml.safe_load((CONFIGS / "appliance.yaml").read_text())
    defaults = msgspec.to_builtins(Document())
    assert {section: set(fields) for section, fields in shown.items()} == {
        section: set(fields) for section, fields in defaults.items()
    }
    assert msgspec.convert(shown, Document) == Document()


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("gateway: {processes: many}", "$.gateway.processes"),
        ("gateway: {processes: -1}", "$.gateway.processes"),
        ("gateway: {procesess: 2}", "procesess"),
        ("gateway: {metrics_networks: [10.0.0.1/8]}", "gateway.metrics_networks"),
        ("chat: {networks: [chat.example.com]}", "chat.networks"),
        ("chat: {address: http://chat.example.com}", "$.chat.address"),
        ("- a list", "a mapping of names to values is expected"),
        ("gateway: [", "is no YAML"),
    ],
)
def test_an_error_names_the_field(tmp_path: Path, text: str, field: str) -> None:
    file = tmp_path / "appliance.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError) as raised:
        load_settings({"APPLIANCE_CONFIG": str(file)})
    assert field in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value"), [("PORT", "eighty"), ("PORT", "65536"), ("DATABASE_URL", "mysql://host/database")]
)
def test_an_error_names_the_variable(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        load_settings({name: value})


@pytest.mark.parametrize(
    "written",
    [
        "postgres://u:p@h/d?sslmode=require",
        "postgresql://u:p@h/d?sslmode=require",
        "postgresql+asyncpg://u:p@h/d?ssl=require",
    ],
)
def test_any_way_to_write_the_database_address_works(written: str) -> None:
    assert load_settings({"DATABASE_URL": written}).sqlalchemy_url == "postgresql+asyncpg://u:p@h/d?ssl=require"
