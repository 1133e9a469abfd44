"""The `songlo` command and the demo: what ties the programs together, and nothing of its own."""
