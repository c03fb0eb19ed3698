"""What happens to an account is told to its owner by mail: budgets, prices, credit that ends, its standing.

``billing`` says what happened, in notices; the worker enters, and queues a mail for whoever each is for.
"""
