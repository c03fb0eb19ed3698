"""Benchmarks: CPU seconds and ratios, measured beside a peer in the same run. ``make bench`` runs them."""
