"""LibreChat's configuration, what it holds about a person (export and deletion), and how it is run beside us.

It is the release below that is configured, read and run: what it calls things is not for good. The command line,
the supervisor, the worker and the pages enter.
"""

RELEASE = "v0.8.7"
