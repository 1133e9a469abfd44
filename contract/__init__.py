"""What gateway and collector say to each other: registers, quality, topics, messages, limits.

And how both read the YAML that people write, so that a fault is told the same way everywhere.
Both sides import this package; it imports neither, does no I/O and reads no clock.
"""
