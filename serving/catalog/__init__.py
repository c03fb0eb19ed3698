"""What is offered: the models that the operator declares, and every endpoint that a client can reach.

Values and parsing only; every room may enter, and it enters none.
"""
