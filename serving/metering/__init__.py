"""What a request used: the count, its journal on disk, and the journals of all nodes brought together.

Numbers only, no content ever comes here. Every room above the catalog may enter.
"""
