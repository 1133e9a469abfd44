"""Snapshots as files: projections of what is frozen, never a computation.

They turn values into bytes; they must not know where either comes from or goes.
"""
