"""The customer's side: the gateway, the pages, the command line, and what runs the parts of the system."""
