"""The gateway's door: how much of a connection there may be before anything is known of who it is.

``limits`` says how much, ``census`` counts who is inside, ``address`` tells whose connection it is,
``protocol`` holds uvicorn's protocol to all of it, ``answers`` are what is said to whoever is refused. Only
``server`` enters.
"""
