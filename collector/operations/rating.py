"""Rating a file of determinants: nothing is stored, the ledger is not asked.

It opens the file and hands values to the rating room, which does the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from collector.billing.rating.determinants import BillDeterminants
from collector.billing.rating.input_file import FILE_BYTES_MAX, parse_csv, parse_json
from collector.billing.rating.pieces import PriceSplit
from collector.billing.rating.preview import BillPreview
from collector.billing.rating.rate import RatingOptions, rate_bills
from collector.billing.rating.tariff_book import TariffBook
from collector.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class RatedFile:
    """A file's bill previews, and the same under another price table if one was asked for."""

    previews: Sequence[BillPreview]
    what_if: Sequence[BillPreview] = ()


def rate_file(path: Path, book: TariffBook, split: PriceSplit, what_if: str | None) -> RatedFile:
    """Rate the determinants in a JSON or CSV file. Raises RatingError; nothing is rated in part."""
    bills = read_determinants(path)
    previews = rate_bills(bills, book, RatingOptions(split))
    if what_if is None:
        return RatedFile(previews)
    return RatedFile(previews, rate_bills(bills, book, RatingOptions(split, what_if)))


def read_determinants(path: Path) -> tuple[BillDeterminants, ...]:
    """The bills of a file; its name says whether it is JSON or CSV."""
    try:
        with path.open("rb") as stream:
            content = stream.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise InvalidRequest(
            f"{path} cannot be read: {error.strerror}", hint="name a file of determinants"
        ) from error
    if len(content) > FILE_BYTES_MAX:
        raise InvalidRequest(
            f"{path} is larger than {FILE_BYTES_MAX} bytes", hint="divide it by reading book"
        )
    match path.suffix.lower():
        case ".json":
            return parse_json(content, path.name)
        case ".csv":
            try:
                return parse_csv(content.decode("utf-8-sig"), path.name)
            except UnicodeDecodeError as error:
                raise InvalidRequest(f"{path} is not UTF-8", hint="save it as UTF-8") from error
        case _:
            raise InvalidRequest(
                f"{path} is neither .json nor .csv", hint="docs/rating.md has both forms"
            )
