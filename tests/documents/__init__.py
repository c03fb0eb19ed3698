"""Documents, value added tax and the books of a sale."""
