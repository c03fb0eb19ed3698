"""The books as an accountant keeps them: double entry in the seller's currency, made of what is on record.

The command line and the console enter. Nothing is kept: the same records give the same books.
"""
