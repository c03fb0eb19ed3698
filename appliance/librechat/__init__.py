"""LibreChat's configuration, what it holds about a person (export and deletion), and how it is run beside us.

It is the release below that is configured, read and run: what it calls things is not for good. The command line,
the supervisor, the worker, the gateway and the pages enter.
"""

RELEASE = "v0.8.7"
USER_HEADER = "X-Appliance-User"
"""LibreChat names by it, to the API, the person who asks."""
QUIET = {
    "NODE_ENV": "production",
    "CONSOLE_JSON": "true",
    "LOG_TO_FILE": "false",
    "DEBUG_LOGGING": "false",
    "DEBUG_CONSOLE": "false",
}
"""Of its environment: how it writes its log, once and without what people write."""
