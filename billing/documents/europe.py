"""Where the tax of the European Union is owed, by ISO 3166-1 alpha-2."""

IN_EU = frozenset(
    "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK".split()  # noqa: SIM905
)
