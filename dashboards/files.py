"""Where the generated dashboards lie, and the text of each: what `python -m dashboards` writes.

It knows the list of dashboards and nothing of what is on them.
"""

import json
from pathlib import Path

from dashboards import station

FOLDER = Path(__file__).parent / "json"


def rendered() -> dict[str, str]:
    """The text of each dashboard, by file name; the same each time."""
    made = {"station.json": station.dashboard()}
    return {
        name: json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        for name, content in made.items()
    }


def write() -> None:
    """Write every dashboard to its file."""
    for name, text in rendered().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
