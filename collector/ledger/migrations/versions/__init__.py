"""The revisions, oldest first by their numbers; alembic finds them by itself.

They know tables and nothing of the code that uses them.
"""
