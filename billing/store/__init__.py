"""What the ledger's decisions read and write (``port``), and where it is kept (``postgres``).

Ledger, charging and customers enter; the simulation has a twin of it in memory.
"""
