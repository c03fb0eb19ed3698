"""Who is let in, and who is not: on a real PostgreSQL, with a clock that the test turns."""
