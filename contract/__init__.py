"""What gateway and collector say to each other: registers, quality, topics, messages, limits.

Both sides import this package; it imports neither, does no I/O and reads no clock.
"""
