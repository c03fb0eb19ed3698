"""The pages that customers see, and the process that serves all pages.

Nobody enters but the command that serves them; it enters ``console``, ``site``, ``identity`` and ``inbox``.
"""
