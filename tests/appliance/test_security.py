"""What docs/security.md says of the code is so."""

import re
from pathlib import Path

import appliance.identity.openid.tables
import appliance.identity.tables
import appliance.inbox.tables
import appliance.mail.tables
import appliance.review.tables  # noqa: F401 -- all add to the tables
from appliance import secrets
from appliance.identity.passwords import FEWEST_CHARACTERS, MOST_CHARACTERS
from appliance.identity.sessions import LIFETIMES, MOST_OF_ONE
from billing.database.tables import metadata

PAGE = Path("docs/security.md").read_text()
LATER = {"partner_keys", "librechat/tls/localhost.key"}
"""Made when there is a partner, or a chat that is tried on one machine."""


def table(head: str) -> list[list[str]]:
    """The cells of the one whose head begins so, row by row."""
    _, rest = PAGE.split(f"\n| {head} |".replace("|   |", "| |"), 1)
    rows = rest.split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def test_every_table_has_its_level_and_its_time() -> None:
    told = [name.strip("`") for name, level, time in table("table") if level and time]
    assert sorted(told) == sorted(metadata.tables)


def test_every_secret_is_listed(tmp_path: Path) -> None:
    secrets.create(tmp_path)
    made = {file.name for file in tmp_path.iterdir()}
    assert {row[0].strip("`") for row in table("secret | what for")} == made | LATER


def test_every_event_is_listed() -> None:
    code = "\n".join(file.read_text() for file in Path(secrets.__file__).parent.rglob("*.py"))
    noted = set(re.findall(r'\bnote\(\s*"([a-z-]+)"', code))
    assert noted
    assert {row[0].strip("`") for row in table("event")} == noted


def test_the_figures_are_the_codes() -> None:
    customer, operator = LIFETIMES["customer"], LIFETIMES["operator"]
    days = [f"{customer.unused.days} days", f"{customer.whole.days} days"]
    hours = [
        f"{operator.unused.total_seconds() / 60:.0f} minutes",
        f"{operator.whole.total_seconds() / 3600:.0f} hours",
    ]
    told = {row[0]: row[1:3] for row in table(" ")}
    assert told == {"customer": days, "customer with a second factor": days, "operator": hours}
    assert f"at most {MOST_OF_ONE} sessions" in PAGE
    assert f"{FEWEST_CHARACTERS} to {MOST_CHARACTERS} characters" in PAGE
