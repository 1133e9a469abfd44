"""A virtual transformer station: real network physics, meters on real sockets and serial lines.

It keeps the truth that tests compare with; it shares no code with the gateway that reads it, so
that a mistake cannot agree with itself.
"""
