"""songlo."""
