"""The only room that touches vLLM: its engine and its own OpenAI app, in this process, metered and silent.

Written for vLLM 0.32; 0.25 keeps the same things in other modules. Control enters
for a replica, placement for ``launch``.
"""
