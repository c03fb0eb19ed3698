"""The tax of the seller that tests have: a quarter in Norway, none elsewhere."""

from billing.documents.vat import Taxing, VatRule

NORWAY = VatRule("NO", None, 2500, "3")
ABROAD = VatRule("*", None, 0, "52", "Outside the scope of Norwegian VAT")
INCLUDED, ON_TOP = Taxing([NORWAY, ABROAD]), Taxing([NORWAY, ABROAD], included=False)
