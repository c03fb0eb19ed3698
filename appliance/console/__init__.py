"""The pages that the operator sees: the business, the customers, the inbox, the trail of what was done.

``web``, which serves all pages, enters; it enters ``inbox``, ``identity`` and ``billing``, and never a customer's
content, because there is none.
"""
