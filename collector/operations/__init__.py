"""What people ask of the collector: one module per subject, called by API and commands alike.

An operation opens its own transaction and hands out values; it must not know who asks or how.
"""
