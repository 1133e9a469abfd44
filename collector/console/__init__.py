"""The operators' web pages: rendered here, refreshed in place, in Vietnamese and in English.

Start at `pages.router`; it must not know SQL, and computes nothing that a bill depends on.
"""
