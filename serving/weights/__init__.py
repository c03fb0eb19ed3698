"""A model's source made ready for the engine: found in a package, downloaded from a hub, converted once.

The command line and the control process enter; it knows files and hubs, neither Ray nor vLLM.
"""
