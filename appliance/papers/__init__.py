"""Receipts, invoices and credit notes as people read them: the words, a page, a PDF.

The mail, the pages and the worker enter. What is shown is made of the posted row each time: no file is kept.
"""
