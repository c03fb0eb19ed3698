"""The OpenAI-compatible API. Start reading at ``relay.py``: the way of a request, top to bottom."""
