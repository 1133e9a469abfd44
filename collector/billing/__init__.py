"""What is billed and from what: snapshots of frozen determinants, as pure functions over values.

It must not do I/O, read a clock or know a framework; its exports only turn values into bytes.
"""
