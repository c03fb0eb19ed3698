"""Every row and every dollar: accounts, keys, rates, holds, settlement, the ledger.

Imports no web framework, no Ray, no vLLM.
"""
