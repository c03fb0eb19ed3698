"""The adapter to Stripe, the only room that knows its library.

``adapter`` is what everybody else takes: the port, by Stripe. It is made of a file for each thing that Stripe has,
over one ``connection``. ``reading`` turns Stripe's answers into the port's types, ``errors`` its refusals into the
port's errors, and ``objects`` is how an answer is taken apart.
"""
