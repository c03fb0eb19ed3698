"""The ledger's real decisions against a plain model, over random histories from a seed."""
