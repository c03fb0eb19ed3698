"""What people write to the operator: questions from the contact form, and appeals against a closed account.

The pages enter, and the worker, which mails what is told of it; it enters ``identity`` and ``mail``.
"""
