"""Energy balance and losses of a station, as pure functions over snapshot lines.

It must not do I/O or read a clock, nor know where the lines come from.
"""
