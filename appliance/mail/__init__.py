"""What is sent to people by mail: the texts, the outbox, the way out.

The worker and the pages enter.
"""
