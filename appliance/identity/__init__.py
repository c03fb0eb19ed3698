"""Who somebody is: sign-up, sessions, second factors, and OpenID Connect for LibreChat.

The pages enter; it enters ``billing`` for accounts and keys, never a model.
"""
