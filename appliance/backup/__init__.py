"""Whether the backups are there: what their programs say of them, judged, and told to people and to Prometheus.

Backups are made by the units of the role ``backup``; nothing here makes, changes or removes one.
"""
