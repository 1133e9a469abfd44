"""Estimation of a daily index, one method per module; the methods know nothing of each other.

An estimate never crosses an exchange and never replaces what was read: it stands beside it.
"""
