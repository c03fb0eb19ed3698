"""Other people's clients and test suites against a running system, each in an environment of its own."""
