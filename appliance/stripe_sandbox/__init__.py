"""A stand-in for the parts of Stripe that this product calls, to practise and for the tests. No real money.

It keeps what it knows in ``state``, judges by ``settings`` and its own ``clock``, and never imports ``stripe`` or
``billing``. ``core`` is the way in: a request gives an answer, without I/O. ``server`` puts it on a port of this
machine with the pages of ``pages``, a file of ``storage``, and a loop that sends ``webhooks``.

Every other module is one of Stripe's objects or rules, named as Stripe names it.
"""
