"""``appliance backup``: whether a restoration would find what it needs."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from appliance.backup.judging import Noted, advice, judge
from appliance.backup.made import Kind, list_backups
from appliance.backup.place import Key, dangers, send
from appliance.backup.telling import as_lines, write_metrics
from appliance.commands.account import AsJson
from appliance.commands.session import as_document, print_json
from billing.clock import system_clock

app = typer.Typer(help="Look at the backups.", no_args_is_help=True)

STATE = Path("/var/lib/appliance-backup")


@app.callback()
def group() -> None:
    """Look at the backups."""


@app.command()
def check(
    kind: Annotated[
        list[Kind] | None, typer.Option(help="What has to be backed up; PostgreSQL and the files if not given.")
    ] = None,
    keep_days: Annotated[int, typer.Option(help="The most days that a backup may be kept.", min=1)] = 14,
    state: Annotated[Path, typer.Option(help="Where the units note what they did.")] = STATE,
    textfile: Annotated[Path | None, typer.Option(help="Also write metrics for the node exporter here.")] = None,
    repository: Annotated[str, typer.Option(envvar="RESTIC_REPOSITORY", hidden=True)] = "",
    key: Annotated[str, typer.Option(envvar="AWS_ACCESS_KEY_ID", hidden=True)] = "",
    secret: Annotated[str, typer.Option(envvar="AWS_SECRET_ACCESS_KEY", hidden=True)] = "",
    region: Annotated[str, typer.Option(envvar="AWS_DEFAULT_REGION", hidden=True)] = "",
    as_json: AsJson = False,
) -> None:
    """Ask pgBackRest and restic for the backups, and say what is wrong. Exit status 0 only if nothing is.

    On a machine with services it is run as root by the unit appliance-backup-check, which has the passphrases.
    """
    now = system_clock()
    noted = Noted(**{name: _last_done(state / name) for name in ("archive", "verify", "drill")})
    judged = judge(list_backups(kind or [Kind.POSTGRESQL, Kind.FILES]), noted, timedelta(days=keep_days), now)
    if textfile is not None:
        write_metrics(textfile, judged)
    if as_json:
        print_json([as_document(one) for one in judged])
    else:
        endangered = dangers(repository, Key(key, secret, region), now, send)
        for line in (*as_lines(judged, now), *advice(noted, now), *endangered):
            typer.echo(line)
    if not all(one.is_fine for one in judged):
        raise typer.Exit(1)


def _last_done(file: Path) -> datetime | None:
    return datetime.fromtimestamp(file.stat().st_mtime, UTC) if file.exists() else None
