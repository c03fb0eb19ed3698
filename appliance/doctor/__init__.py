"""`appliance doctor`: ``probes`` finds out what is so on this machine, ``findings`` says what to do about it.

Only the command line enters; nothing here changes anything.
"""
