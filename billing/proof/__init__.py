"""That the books are right and stay so: the rules, the seals, the archives, the reconciliation with the meters.

The worker and the command line enter; it may look into every other room of ``billing``.
"""
