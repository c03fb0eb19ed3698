"""The OpenAI-compatible API. Start reading at ``relay.py``: the way of a request, top to bottom.

``app`` is its only wiring. Only the command that serves it enters.
"""
