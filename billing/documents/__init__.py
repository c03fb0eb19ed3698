"""What an accountant needs of each sale: value added tax, documents in a series without a gap, the books.

Payments, the site, the worker and the command line enter.
"""
