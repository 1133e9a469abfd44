"""Tariffs read from their files: those of the product, and those that a site gives.

It opens files and hands texts to the rating room, which judges them.
"""

from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path

from collector.billing.rating.faults import TariffFault, TariffFaults
from collector.billing.rating.tariff import PriceTable, TariffValue
from collector.billing.rating.tariff_book import TariffBook, make_book
from collector.billing.rating.tariff_file import FILE_CHARS_MAX, parse_tariff
from collector.errors import InvalidRequest

# Some decisions a year, for longer than electricity has been sold.
FILES_MAX = 1_000
_CHAR_BYTES_MAX = 4


def load_tariffs(more: Sequence[Path] = ()) -> TariffBook:
    """The product's tariffs and those in `more` (files, or folders of *.yaml).

    A file of `more` takes the place of the product's file with the same id. Raises TariffFaults
    with every fault of every file.
    """
    built_in = files("collector.billing").joinpath("tariffs")
    names = sorted(item.name for item in built_in.iterdir() if item.name.endswith(".yaml"))
    faults: list[TariffFault] = []
    texts = ((name, built_in.joinpath(name).read_text(encoding="utf-8")) for name in names)
    values = {value.header.id: value for value in _parsed(texts, faults)}
    own = _parsed(((str(path), _text(path)) for path in _expanded(more)), faults)
    replaced = {value.header.id for value in own}
    kept = [value for value in values.values() if value.header.id not in replaced]
    if faults:
        raise TariffFaults(faults)
    return make_book([*kept, *own])


def price_groups(book: TariffBook) -> frozenset[str]:
    """The names of all price groups that some table of the book has, in force or not."""
    tables = (value for value in book.values.values() if isinstance(value, PriceTable))
    return frozenset(group for table in tables for group in table.groups)


def _parsed(texts: Iterable[tuple[str, str]], faults: list[TariffFault]) -> list[TariffValue]:
    values: list[TariffValue] = []
    for where, text in texts:
        try:
            values.append(parse_tariff(text, where))
        except TariffFaults as error:
            faults += error.faults
    return values


def _expanded(paths: Iterable[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(path.glob("*.yaml"))
            if not inside:
                raise InvalidRequest(
                    f"no *.yaml in {path}", hint="name a tariff file, or a folder that has some"
                )
            found += inside
        else:
            found.append(path)
    if len(found) > FILES_MAX:
        raise InvalidRequest(f"more than {FILES_MAX} tariff files", hint="name the files you mean")
    return found


def _text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            content = stream.read(FILE_CHARS_MAX * _CHAR_BYTES_MAX + 1)
        return content.decode("utf-8")
    except OSError as error:
        raise InvalidRequest(
            f"{path} cannot be read: {error.strerror}", hint="name a tariff file or a folder"
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{path} is not UTF-8", hint="save it as UTF-8 text") from error
