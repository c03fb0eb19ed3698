"""The life of credit: lots that are bought, granted, refunded, disputed and swept up; open holds.

Charging and customers enter. docs/money.md has the rules.
"""
