"""Every reading, of all registers at all intervals: one port and the stores behind it."""
