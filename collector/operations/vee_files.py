"""What validation takes from files: its limits, and its texts in a reader's language.

It opens what is shipped beside the rules and what the collector file names; it must not judge any
limit.
"""

from functools import cache
from importlib.resources import files
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po

from collector.errors import InvalidRequest
from collector.vee.limits import LimitsBook, LimitsError, read_limits
from collector.vee.texts import Translate

LANGUAGES = ("en", "vi")

# A district's limits are some kilobytes.
FILE_BYTES_MAX = 1_000_000

_SHIPPED = "limits.yaml"


def load_limits(path: Path | None) -> LimitsBook:
    """The limits as shipped, with those of a file over them. Raises LimitsError."""
    shipped = files("collector.vee").joinpath(_SHIPPED).read_text(encoding="utf-8")
    texts = [(_SHIPPED, shipped)]
    if path is not None:
        try:
            with path.open("rb") as file:
                raw = file.read(FILE_BYTES_MAX + 1)
            text = raw.decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise LimitsError(
                f"{path}: cannot be read: {error}", hint="see vee.limits_file of the collector file"
            ) from error
        if len(raw) > FILE_BYTES_MAX:
            raise LimitsError(
                f"{path}: has more than {FILE_BYTES_MAX} bytes", hint="say only what is different"
            )
        texts.append((str(path), text))
    return read_limits(texts)


def translation(language: str) -> Translate:
    """Texts in one of LANGUAGES; English where there is no translation. Raises InvalidRequest."""
    if language not in LANGUAGES:
        raise InvalidRequest(
            f"{language!r} is no language of this program", hint=f"use {' or '.join(LANGUAGES)}"
        )
    if language == "en":
        return str
    catalog = _catalog(language)

    def translate(text: str) -> str:
        message = catalog.get(text)
        found = None if message is None or message.fuzzy else message.string
        return found if isinstance(found, str) and found else text

    return translate


@cache
def _catalog(language: str) -> Catalog:
    with files("collector.vee").joinpath("i18n", f"{language}.po").open("rb") as stream:
        return read_po(stream, locale=language)
