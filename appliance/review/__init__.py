"""Sharing and spam: what the gateways saw of each key, the rules that find it strange, the list for the operator.

The gateway enters to write down what it saw, the worker to look through it, the console to show and to close it.
"""
