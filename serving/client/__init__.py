"""What a gateway needs to find a replica and speak to it; nobody who enters needs Ray.

The gateway and the worker enter, and the control process for the files that they share.
"""
