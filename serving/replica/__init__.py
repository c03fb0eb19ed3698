"""What stands before a model in its own process: who may ask what, who waits, what is counted and kept silent.

The engine and the partners' client enter; it touches neither Ray nor vLLM.
"""
