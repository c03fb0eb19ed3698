"""The process ``serving`` and what it puts on the cluster: the only room that touches Ray.

It may enter every other room of ``serving``; none enters it but the command that starts it.
"""
