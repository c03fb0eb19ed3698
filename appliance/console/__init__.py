"""The pages that the operator sees.

Nobody enters but the command that serves them; it enters ``identity`` and ``mail``.
"""
