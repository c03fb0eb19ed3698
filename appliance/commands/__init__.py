"""The command line's groups: each module has a typer application `app`, which `appliance.cli` finds by name."""
