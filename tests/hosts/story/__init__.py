"""One operator's cluster, from a bare server on: chapters that share it and are read by their numbers.

``operator.py`` is who does it all, by docs/installation.md. Each chapter also stands alone: what it needs of the
earlier ones, the fixtures do.
"""
