"""Who has credit here: accounts, their keys, and their standing.

The command line, the gateway and the pages enter.
"""
