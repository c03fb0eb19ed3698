"""What all pages have in common: who may call them, how they look, and what a browser is told with each.

``audience`` decides who may come, ``visitor`` finds out who it is, ``pages`` lets no page be without both,
``rendering`` writes it, ``guard`` stands before all of it. The rooms with pages enter.
"""
