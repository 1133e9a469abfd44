"""Writes the dashboards' JSON: `python -m dashboards`. It decides nothing of what is in it."""

from dashboards.files import write

if __name__ == "__main__":
    write()
