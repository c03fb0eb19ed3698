"""LibreChat's configuration, and a person's data in it."""
