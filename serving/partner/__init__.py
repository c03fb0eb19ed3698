"""Models that somebody else serves: a replica without an engine, which asks a partner's OpenAI-compatible API.

To everybody else it is a replica like any other: the same guard, line, meter and journal. Control enters; the
command line for the partners' keys.
"""
