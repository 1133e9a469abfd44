"""Protocols of meters as state machines between bytes and values, without any I/O.

They must not know of ports, clocks or queues; the lines bring them the bytes.
"""
