"""The pages that customers see.

Nobody enters but the command that serves them; it enters ``identity`` and ``mail``.
"""
