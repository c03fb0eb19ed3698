"""Mail: what is queued arrives, once and whole, whatever the server says in between."""
