"""Whether what is declared has room on the GPUs, and what applying it would change. Pure but for looks at files.

The command line and the control process enter.
"""
