"""The first start makes what is needed, and a demo account only where one is wanted."""

from __future__ import annotations

from pathlib import Path

from appliance import secrets
from appliance.bootstrap import DEMO, OPERATOR, bootstrap
from appliance.settings import load_settings
from billing.clock import system_clock
from billing.customers.accounts import list_accounts
from billing.database.db import Database


async def names(url: str, home: Path, *lines: str) -> set[str]:
    """Of the accounts after a first start with these lines of appliance.yaml."""
    config = home / "appliance.yaml"
    config.write_text("\n".join(lines))
    variables = {"APPLIANCE_HOME": str(home), "DATABASE_URL": url, "APPLIANCE_CONFIG": str(config)}
    settings = load_settings(variables)
    secrets.create(settings.secrets)
    await bootstrap(settings, system_clock)
    database = Database(url)
    try:
        async with database.begin() as connection:
            return {one.name for one in await list_accounts(connection)}
    finally:
        await database.close()


async def test_a_demo_account_is_made_to_try_the_api_with(fresh_url: str, tmp_path: Path) -> None:
    assert await names(fresh_url, tmp_path) == {OPERATOR, DEMO}
    assert (tmp_path / "demo.env").exists()


async def test_no_demo_account_is_made_where_none_is_wanted(fresh_url: str, tmp_path: Path) -> None:
    assert await names(fresh_url, tmp_path, "billing: {demo_account: false}") == {OPERATOR}
    assert not (tmp_path / "demo.env").exists()
