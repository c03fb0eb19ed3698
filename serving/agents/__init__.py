"""What agents send, in words that the engine knows, and its answers in theirs: every tool becomes a function.

Pure but for ``app``, which stands between a replica's guard and vLLM's app. The engine's
room enters; docs/decisions/0025 has the rules.
"""
