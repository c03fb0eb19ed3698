"""What was used, told to customers and accountants: row by row, summed, and as files. Never content.

The command line, the gateway and the pages enter; it only reads.
"""
