"""Money that comes and goes back: checkout, top-ups, plans, refunds, disputes, and what Stripe tells of them.

``provider`` is the port, ``stripe`` the only room that talks to Stripe. The site, the worker and the command line
enter.
"""
