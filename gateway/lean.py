"""structlog, imported without what it would import because it happens to be installed.

A gateway has `rich` installed, for the commands that print tables, and structlog imports all of it
where it finds it, for tracebacks in colour: 8 MB that a program which runs for years never looks
at. To be imported before any other module of the gateway; commands that want rich import it
afterwards, as ever.
"""

import sys

# The other one is for programs that run on greenlets; the gateway runs on asyncio.
_NEVER_USED = ("rich", "greenlet")


def import_structlog() -> None:
    """Import structlog as if these were not installed; what is imported already stays.

    `None` in `sys.modules` is the documented way to have an import fail (Python Language
    Reference, 5.3.1).
    """
    hidden = [name for name in _NEVER_USED if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        import structlog  # noqa: F401, PLC0415 only now
    finally:
        for name in hidden:
            del sys.modules[name]


import_structlog()
