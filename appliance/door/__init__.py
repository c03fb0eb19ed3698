"""The door of what listens to the world: how much of a connection there may be before it is known whose it is.

``limits`` says how much, ``census`` counts who is inside, ``address`` tells whose connection it is,
``protocol`` holds uvicorn's protocol to all of it, ``answers`` are what is said to whoever is refused,
``headers`` what a browser is told with that and with all that is no page, ``server`` runs uvicorn behind it. The
gateway and the site enter by their own ``server``; ``address`` is for whoever has an address to understand,
``headers`` for the settings and the site's guard.
"""
