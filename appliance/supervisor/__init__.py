"""`appliance up`: starts the parts of the system, keeps them running, and stops all of them.

`launch` tells the story from the lock to the last line; `system` says what the parts are, and `layout` what they
expect to find; `keeper` runs one of them; `processes` and `census` are about processes, `instance` about there
being one system to a home, `screen`, `models` and `welcome` about what the user sees. Where systemd keeps the
parts running instead, `prepare` comes once, and then `service` for each.
"""
