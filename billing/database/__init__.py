"""The way to PostgreSQL: the pool, the tables, their partitions and migrations.

Every room may enter; it enters none, and decides nothing.
"""
