"""The port, by Stripe."""

from billing.payments.stripe.account import Account
from billing.payments.stripe.charges import Charges
from billing.payments.stripe.checkout import Checkout
from billing.payments.stripe.customers import Customers
from billing.payments.stripe.events import Events
from billing.payments.stripe.refunds import Refunds
from billing.payments.stripe.subscriptions import Subscriptions


class StripeProvider(Account, Charges, Checkout, Customers, Events, Refunds, Subscriptions):
    """``billing.payments.provider.Provider`` by Stripe, or by the sandbox at ``base``. ``close`` it in the end."""
