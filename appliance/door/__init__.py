"""The door of what listens to the world: how much of a connection there may be before it is known whose it is.

``limits`` says how much, ``census`` counts who is inside, ``address`` tells whose connection it is,
``protocol`` holds uvicorn's protocol to all of it, ``answers`` are what is said to whoever is refused. The
``server`` of the gateway and of the site enter; ``address`` is for whoever has an address to understand.
"""
