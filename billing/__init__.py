"""Every row and every dollar: accounts, keys, rates, holds, settlement, the ledger.

Imports no web framework, no Ray, no vLLM. The rooms from the top: ``proof``, ``customers`` and ``statements``,
``charging``, ``ledger``, ``store``, ``prices``, ``database``. A room enters those below it, never one above.
"""
