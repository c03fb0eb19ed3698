"""What a subscription gives: the plans of the operator's file, their versions, and an account's time on one.

Payments, the site and the command line enter.
"""
