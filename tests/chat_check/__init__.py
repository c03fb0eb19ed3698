"""The real LibreChat beside the real system, in a real Chromium: ``make chat-check``.

It needs a built LibreChat (LIBRECHAT_SOURCE), which no test of `make test` has. ``stage`` starts everything,
``steps`` are what it shows, ``books`` what our database and LibreChat's say of it, ``report`` the page of docs.
"""
