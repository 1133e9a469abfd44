"""Validation of reads, one rule per module; the rules know nothing of each other.

They are pure functions over values; they must not know where reads come from or who bills them.
"""
