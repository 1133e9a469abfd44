"""Papers to print, in Vietnamese, as PDF: pages, lines of text and tables that go over pages.

The only module that knows reportlab. It must not know what is on a paper. The same content has
the same bytes: no clock, no random id.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from io import BytesIO
from typing import BinaryIO

from reportlab.lib.pagesizes import A4
from reportlab.pdfbase.pdfmetrics import registerFont, stringWidth
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

_FOLDER = "collector.billing.exports.fonts"
_FILES = {
    "DejaVuSansCondensed": "dejavu-2.37/DejaVuSansCondensed.ttf",
    "DejaVuSansCondensed-Bold": "dejavu-2.37/DejaVuSansCondensed-Bold.ttf",
}
_PLAIN, _BOLD = _FILES

# Points (1/72 inch).
PAGE_WIDTH, PAGE_HEIGHT = (int(side) for side in A4)
MARGIN = 36
WIDTH = PAGE_WIDTH - 2 * MARGIN
_BOTTOM = MARGIN + 18
_SIZE, _LEADING, _PADDING, _GAP = 8, 11, 2, 4
_GREY = "#888888"
_SHADE = "#eeeeee"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its heading, its width in points, and whether it holds numbers."""

    heading: str
    width: int
    is_number: bool = False


class Paper:
    """A paper that is written from top to bottom; `end` finishes it.

    `footer` is on every page beside its number, which starts again with each `new_part`.
    """

    def __init__(self, stream: BinaryIO, title: str) -> None:
        _load_fonts()
        self._canvas = Canvas(stream, pagesize=A4, invariant=1, pageCompression=1, lang="vi")
        self._canvas.setTitle(title)
        self._canvas.setAuthor("Songlo")
        self._canvas.setCreator("Songlo")
        self._y = PAGE_HEIGHT - MARGIN
        self._page = 1
        self._footer = ""
        self._is_blank = True

    def new_part(self, footer: str) -> None:
        """Begin on a new page, with its own footer and page numbers."""
        if not self._is_blank:
            self._end_page()
        self._page = 1
        self._footer = _clean(footer)

    def line(
        self, text: str, *, size: int = _SIZE, bold: bool = False, middle: bool = False
    ) -> None:
        """One paragraph; it is broken where it does not fit the page's width."""
        font = _BOLD if bold else _PLAIN
        for part in wrapped(text, WIDTH, font, size):
            self._room(size + 4)
            self._y -= size + 4
            self._canvas.setFont(font, size)
            if middle:
                self._canvas.drawCentredString(PAGE_WIDTH // 2, self._y, part)
            else:
                self._canvas.drawString(MARGIN, self._y, part)

    def space(self, height: int = 6) -> None:
        """Leave so many points free."""
        self._y -= height

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
        """A table whose headings are repeated on each page; a long text makes its row higher."""
        self.space(_GAP)
        self._headings(columns)
        for row in rows:
            self._row(columns, row, _PLAIN)
        self._rule()

    def sums(self, pairs: Iterable[tuple[str, str]], *, bold_last: bool = False) -> None:
        """Names on the right with their values at the edge."""
        found = list(pairs)
        for number, (name, value) in enumerate(found, 1):
            self._room(_LEADING)
            self._y -= _LEADING
            self._canvas.setFont(_BOLD if bold_last and number == len(found) else _PLAIN, _SIZE + 1)
            self._canvas.drawRightString(MARGIN + WIDTH - 110, self._y, _clean(name))
            self._canvas.drawRightString(MARGIN + WIDTH - _PADDING, self._y, _clean(value))

    def signatures(self, names: Sequence[str]) -> None:
        """Room for people to sign in, side by side, all on one page."""
        self._room(80)
        self._y -= 20
        self._canvas.setFont(_BOLD, _SIZE)
        width = WIDTH // len(names)
        for number, name in enumerate(names):
            middle = MARGIN + number * width + width // 2
            self._canvas.drawCentredString(middle, self._y, _clean(name))
        self._y -= 60

    def end(self) -> None:
        """Finish the paper and write it."""
        self._end_page()
        self._canvas.save()

    def _headings(self, columns: Sequence[Column]) -> None:
        self._room(4 * _LEADING)
        self._row(columns, [column.heading for column in columns], _BOLD, shade=True)

    def _row(
        self, columns: Sequence[Column], row: Sequence[str], font: str, *, shade: bool = False
    ) -> None:
        cells = [
            wrapped(text, column.width - 2 * _PADDING, font, _SIZE)
            for text, column in zip(row, columns, strict=True)
        ]
        height = _LEADING * max(map(len, cells)) + _PADDING
        if not shade and self._y - height < _BOTTOM:
            self._rule()
            self._end_page()
            self._headings(columns)
        if shade:
            self._canvas.setFillColor(_SHADE)
            self._canvas.rect(MARGIN, self._y - height, WIDTH, height, stroke=0, fill=1)
            self._canvas.setFillColor("black")
        self._is_blank = False
        self._rule()
        self._canvas.setFont(font, _SIZE)
        left = MARGIN
        for parts, column in zip(cells, columns, strict=True):
            y = self._y
            for part in parts:
                y -= _LEADING
                if column.is_number:
                    self._canvas.drawRightString(left + column.width - _PADDING, y + 2, part)
                else:
                    self._canvas.drawString(left + _PADDING, y + 2, part)
            left += column.width
        self._y -= height

    def _rule(self) -> None:
        self._canvas.setStrokeColor(_GREY)
        self._canvas.setLineWidth(1)
        self._canvas.line(MARGIN, self._y, MARGIN + WIDTH, self._y)

    def _room(self, height: int) -> None:
        if self._y - height < _BOTTOM:
            self._end_page()
        self._is_blank = False

    def _end_page(self) -> None:
        self._canvas.setFont(_PLAIN, _SIZE - 1)
        self._canvas.drawString(MARGIN, MARGIN, self._footer)
        self._canvas.drawRightString(MARGIN + WIDTH, MARGIN, f"Trang {self._page}")
        self._canvas.showPage()
        self._page += 1
        self._y = PAGE_HEIGHT - MARGIN
        self._is_blank = True


def wrapped(text: str, width: int, font: str, size: int) -> list[str]:
    """The text in parts that fit `width`: between words where that is possible, else within one.

    Nothing is cut off. There is at least one part.
    """
    parts: list[str] = []
    current = ""
    for word in _clean(text).split(" "):
        longer = f"{current} {word}" if current else word
        if stringWidth(longer, font, size) <= width:
            current = longer
            continue
        if current:
            parts.append(current)
        current = ""
        for char in word:
            if current and stringWidth(current + char, font, size) > width:
                parts.append(current)
                current = ""
            current += char
    return [*parts, current]


def _clean(text: str) -> str:
    """Composed, as the font has its letters, and without what is no letter at all."""
    composed = unicodedata.normalize("NFC", text)
    return "".join(" " if unicodedata.category(char)[0] == "C" else char for char in composed)


@cache
def _load_fonts() -> None:
    for name, path in _FILES.items():
        content = files(_FOLDER).joinpath(path).read_bytes()
        registerFont(TTFont(name, BytesIO(content)))
