"""The way of a request through the money: admission places a hold, settlement charges what was metered.

The gateway and the worker enter; decisions are pure functions of the store's values.
"""
