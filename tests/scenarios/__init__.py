"""Whole stories about a running system: over HTTP, the command line, signals, and the files under its home."""
