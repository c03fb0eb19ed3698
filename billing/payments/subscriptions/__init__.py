"""Subscriptions as their owner has them: ordered, changed, ended. docs/decisions/0036-plans.md has the reasons.

They live at Stripe; ``billing.payments.following`` brings our rows to what Stripe says. ``service`` is what
everybody else takes, made of ``orders``, ``upgrades`` and ``renewals`` over ``running``. ``changes`` decides what
may be done, ``costs`` says for how much.
"""
