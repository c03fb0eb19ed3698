"""LibreChat as a process beside ours: which release, what it is told, how browsers reach it, what its log keeps.

``release`` says whether a folder holds the release that is meant, ``start`` what it is started with, ``process``
runs it; ``front`` and ``certificate`` give it TLS without a proxy; ``journal`` keeps people out of its log.
"""
