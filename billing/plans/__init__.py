"""What can be subscribed to: the operator's list of plans, the versions that were sold, and what a plan changes.

``catalog`` reads configs/plans.yaml, ``versions`` keeps what was offered when, ``entitlements`` says what an
account may while it is on a plan and after it. docs/decisions/0036-plans.md says why.
"""
