"""LibreChat's configuration, and what it holds about a person: export and deletion.

It is the release below that is configured and read: what it calls things is not for good. The command line, the
worker and the pages enter.
"""

RELEASE = "v0.8.7"
