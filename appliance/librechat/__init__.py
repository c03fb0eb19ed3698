"""LibreChat's configuration, and what it holds about a person: export and deletion.

The command line, the worker and the pages enter.
"""
