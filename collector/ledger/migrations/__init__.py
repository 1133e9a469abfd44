"""The ledger's schema, step by step: one alembic revision per module of `versions`.

A revision that was released never changes and never looks at `tables.py`, which describes today.
"""
