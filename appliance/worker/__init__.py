"""The background jobs: ``run`` says when, ``jobs`` what; recovery of requests whose gateway is gone.

Only the command line enters; no request of a customer waits for anything here.
"""
