"""The command line's groups: each module has a typer application `app`, mounted by `appliance.cli`."""
