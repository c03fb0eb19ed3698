"""What things cost: money as an integer, the price of a request, rates in versions with notice.

Every room above the database may enter.
"""
