"""The GCS file's form: `<NewDataSet>`, its inline XSD, and one `<Table1>` per register of a point.

Reads with defusedxml, a row at a time and within bounds, and writes. It must not know what a
column means.

A column that is null is absent from its row; the schema has the columns' order and types.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol
from xml.etree.ElementTree import Element, ParseError
from xml.sax.saxutils import escape, quoteattr

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import iterparse

from collector.errors import InvalidRequest

ROOT, ROW = "NewDataSet", "Table1"

# Column and XSD type, in the file's order. A file of theirs may have others: its schema holds.
COLUMNS: Mapping[str, str] = {
    "MA_NVGCS": "string",
    "MA_KHANG": "string",
    "MA_DDO": "string",
    "MA_DVIQLY": "string",
    "MA_GC": "string",
    "MA_QUYEN": "string",
    "MA_TRAM": "string",
    "BOCSO_ID": "long",
    "LOAI_BCS": "string",
    "LOAI_CS": "string",
    "TEN_KHANG": "string",
    "DIA_CHI": "string",
    "MA_NN": "string",
    "SO_HO": "decimal",
    "MA_CTO": "string",
    "SERY_CTO": "string",
    "HSN": "decimal",
    "CS_CU": "decimal",
    "TTR_CU": "string",
    "SL_CU": "decimal",
    "SL_TTIEP": "int",
    "NGAY_CU": "dateTime",
    "CS_MOI": "decimal",
    "TTR_MOI": "string",
    "SL_MOI": "decimal",
    "CHUOI_GIA": "string",
    "KY": "int",
    "THANG": "int",
    "NAM": "int",
    "NGAY_MOI": "dateTime",
    "NGUOI_GCS": "string",
    "SL_THAO": "decimal",
    "KIMUA_CSPK": "short",
    "MA_COT": "string",
    "SLUONG_1": "decimal",
    "SLUONG_2": "decimal",
    "SLUONG_3": "decimal",
    "SO_HOM": "string",
    "PMAX": "decimal",
    "NGAY_PMAX": "dateTime",
}

# 100,000 rows of a large district take some 150 MB; beyond twice that it is no reading book.
FILE_BYTES_MAX = 300 * 1024 * 1024
# Between two ends of rows: a row is about a kilobyte, the schema a few.
ROW_BYTES_MAX = 256 * 1024
ROW_COLUMNS_MAX = 200
PIECE_ROWS = 200

_CHUNK_BYTES = 16 * 1024

_XS = "http://www.w3.org/2001/XMLSchema"
_XML = "http://www.w3.org/XML/1998/namespace"
_HEAD = '<?xml version="1.0" standalone="yes"?>\n<NewDataSet>\n'
_TAIL = "</NewDataSet>\n"
# What a parser would make something else of: line ends are normalised, also in attributes.
_KEEP = {"\r": "&#13;"}
_KEEP_IN_ATTRIBUTE = {"\r": "&#13;", "\n": "&#10;", "\t": "&#9;"}


class Readable(Protocol):
    """What a file is read from."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end."""
        ...


class Cell(NamedTuple):
    """A column's text, and attributes such as `xml:space` as they are written."""

    text: str
    attributes: str = ""


Row = dict[str, Cell]


@dataclass(frozen=True, slots=True)
class Form:
    """A file's schema: its text (empty: it has none), and its columns' types in their order."""

    text: str
    types: Mapping[str, str]


@dataclass(slots=True)
class Table1Reader:
    """A GCS file, a row at a time: first `form`, then the rows by iteration, once.

    Raises InvalidRequest for what is no such file, declares entities or exceeds the bounds. What
    was iterated before stands for nothing then.
    """

    stream: Readable
    name: str
    form: Form = field(default_factory=lambda: Form("", COLUMNS))
    _bounded: "_Bounded" = field(init=False)
    _events: Iterator[tuple[str, object]] = field(init=False)
    _first: Element | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._bounded = _Bounded(self.stream, self.name)
        events = iterparse(self._bounded, events=("start", "end", "start-ns"), forbid_dtd=True)
        self._events = self._top_level(events)
        self._begin()

    def rows(self) -> Iterator[Row]:
        """The rows in the file's order; columns are in the row's."""
        if self._first is not None:
            yield self._row(self._first)
        for event, element in self._events:
            if event == "start-ns":
                continue
            assert isinstance(element, Element)
            if element.tag != ROW:
                raise self._no_file(f"<{element.tag}> where <{ROW}> should be")
            yield self._row(element)

    def _begin(self) -> None:
        prefixes: dict[str, str] = {}
        for event, value in self._events:
            if event == "start-ns":
                assert isinstance(value, tuple)
                prefix, uri = value
                if prefixes.setdefault(prefix, uri) != uri:
                    raise self._no_file(f"the prefix {prefix!r} has two meanings")
                continue
            assert isinstance(value, Element)
            if value.tag == f"{{{_XS}}}schema":
                self.form = Form(_schema_text(value, prefixes), _types(value))
                if not self.form.types:
                    raise self._no_file(f"its schema declares no columns of {ROW}")
                return
            if value.tag == ROW:
                self._first = value
                return
            raise self._no_file(f"<{value.tag}> where its schema or <{ROW}> should be")

    def _top_level(self, events: Iterator[tuple[str, object]]) -> Iterator[tuple[str, object]]:
        """Namespaces, and each child of the root once it is whole; then it is let go."""
        root: Element | None = None
        depth = 0
        try:
            for event, value in events:
                if event == "start-ns":
                    if root is None or not self.form.text:
                        yield event, value
                    continue
                assert isinstance(value, Element)
                if event == "start":
                    if root is None:
                        root = value
                        if root.tag != ROOT:
                            raise self._no_file(f"its root is <{root.tag}> and not <{ROOT}>")
                    depth += 1
                    continue
                depth -= 1
                if depth == 1:
                    assert root is not None
                    self._bounded.progress()
                    yield event, value
                    root.clear()
        except DefusedXmlException as error:
            raise self._no_file("it declares a document type or entities") from error
        except (ParseError, ValueError, LookupError) as error:  # the latter two: the encoding
            raise self._no_file(f"it is not well-formed XML: {error}") from error

    def _row(self, element: Element) -> Row:
        if len(element) > ROW_COLUMNS_MAX:
            raise self._no_file(f"a row has more than {ROW_COLUMNS_MAX} columns")
        row: Row = {}
        for child in element:
            if len(child) or child.tag.startswith("{"):
                raise self._no_file(f"<{child.tag}> is no plain column")
            if child.tag in row:
                raise self._no_file(f"a row has <{child.tag}> twice")
            row[child.tag] = Cell(child.text or "", self._attributes(child))
        return row

    def _attributes(self, element: Element) -> str:
        written = ""
        for name, value in element.attrib.items():
            if not name.startswith(f"{{{_XML}}}"):
                raise self._no_file(f"<{element.tag}> has an attribute {name!r}")
            local = name.removeprefix(f"{{{_XML}}}")
            written += f" xml:{local}={quoteattr(value, _KEEP_IN_ATTRIBUTE)}"
        return written

    def _no_file(self, why: str) -> InvalidRequest:
        return InvalidRequest(
            f"{self.name} is not a GCS file of CMIS: {why}",
            hint="export it from CMIS again, as XML with its schema; nothing was filled",
            code="cmis_file",
        )


def write_table1(form: Form, rows: Iterable[Mapping[str, Cell]]) -> Iterator[bytes]:
    """The file in pieces, UTF-8; columns that the form does not have come last."""
    schema = form.text or ""
    held = [_HEAD, f"  {schema}\n" if schema else ""]
    for number, row in enumerate(rows, 1):
        names = [name for name in form.types if name in row]
        names += [name for name in row if name not in form.types]
        cells = "".join(f"    {_cell_text(name, row[name])}\n" for name in names)
        held.append(f"  <{ROW}>\n{cells}  </{ROW}>\n")
        if number % PIECE_ROWS == 0:
            yield "".join(held).encode()
            held.clear()
    held.append(_TAIL)
    yield "".join(held).encode()


def own_form() -> Form:
    """The form of a file that is made new: the known columns, as strict as CMIS's own."""
    columns = "".join(
        f'<xs:element name="{name}" type="xs:{kind}" minOccurs="0"'
        + (' msdata:DateTimeMode="Unspecified"' if kind == "dateTime" else "")
        + " />"
        for name, kind in COLUMNS.items()
    )
    text = (
        f'<xs:schema xmlns="" xmlns:xs="{_XS}"'
        f' xmlns:msdata="urn:schemas-microsoft-com:xml-msdata" id="{ROOT}">'
        f'<xs:element name="{ROOT}" msdata:IsDataSet="true" msdata:UseCurrentLocale="true">'
        '<xs:complexType><xs:choice minOccurs="0" maxOccurs="unbounded">'
        f'<xs:element name="{ROW}"><xs:complexType><xs:sequence>{columns}'
        "</xs:sequence></xs:complexType></xs:element>"
        "</xs:choice></xs:complexType></xs:element></xs:schema>"
    )
    return Form(text, COLUMNS)


def is_writable(text: str) -> bool:
    """Whether XML 1.0 can hold the text at all."""
    return all(char >= " " or char in "\t\n\r" for char in text) and not any(
        "\ud800" <= char <= "\udfff" or char in "\ufffe\uffff" for char in text
    )


class _Bounded:
    """A stream that ends in InvalidRequest where a file or one row of it is too long."""

    def __init__(self, stream: Readable, name: str) -> None:
        self._stream = stream
        self._name = name
        self._read = 0
        self._row_began = 0

    def read(self, size: int = _CHUNK_BYTES, /) -> bytes:
        content = self._stream.read(size)
        self._read += len(content)
        if self._read > FILE_BYTES_MAX:
            raise InvalidRequest(
                f"{self._name} has more than {FILE_BYTES_MAX} bytes",
                hint="export it from CMIS by reading book",
                code="cmis_file",
            )
        if self._read - self._row_began > ROW_BYTES_MAX:
            raise InvalidRequest(
                f"{self._name} has a row of more than {ROW_BYTES_MAX} bytes",
                hint="it is no GCS file; export it from CMIS again",
                code="cmis_file",
            )
        return content

    def progress(self) -> None:
        self._row_began = self._read


def _cell_text(name: str, cell: Cell) -> str:
    if not cell.text:
        return f"<{name}{cell.attributes} />"
    return f"<{name}{cell.attributes}>{escape(cell.text, _KEEP)}</{name}>"


def _types(schema: Element) -> dict[str, str]:
    """The columns of the rows by their XSD type, without its prefix; `string` where it has none."""
    for table in schema.iter(f"{{{_XS}}}element"):
        if table.get("name") != ROW:
            continue
        found: dict[str, str] = {}
        for column in table.iter(f"{{{_XS}}}element"):
            name = column.get("name")
            if name is None or column is table:
                continue
            kind = column.get("type")
            if kind is None:
                restriction = column.find(f"./{{{_XS}}}simpleType/{{{_XS}}}restriction")
                kind = "xs:string" if restriction is None else restriction.get("base", "xs:string")
            found[name] = kind.rpartition(":")[2]
        return found
    return {}


def _schema_text(schema: Element, prefixes: Mapping[str, str]) -> str:
    """The schema as text, with its own prefixes: its types name them."""
    by_uri = {uri: prefix for prefix, uri in prefixes.items() if uri}
    declared = ' xmlns=""' + "".join(
        f" xmlns:{prefix}={quoteattr(uri)}" for uri, prefix in by_uri.items() if prefix
    )
    return _element_text(schema, by_uri, declared)


def _element_text(element: Element, by_uri: Mapping[str, str], declared: str = "") -> str:
    tag = _qualified(element.tag, by_uri)
    attributes = "".join(
        f" {_qualified(name, by_uri)}={quoteattr(value, _KEEP_IN_ATTRIBUTE)}"
        for name, value in element.attrib.items()
    )
    inner = escape(element.text or "", _KEEP) if (element.text or "").strip() else ""
    inner += "".join(_element_text(child, by_uri) for child in element)
    if not inner:
        return f"<{tag}{declared}{attributes} />"
    return f"<{tag}{declared}{attributes}>{inner}</{tag}>"


def _qualified(name: str, by_uri: Mapping[str, str]) -> str:
    if not name.startswith("{"):
        return name
    uri, _, local = name[1:].partition("}")
    prefix = "xml" if uri == _XML else by_uri.get(uri, "")
    return f"{prefix}:{local}" if prefix else local
