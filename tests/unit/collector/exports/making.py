"""Snapshot lines and GCS files for the tests of exports."""

import io
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from pathlib import Path

from collector.billing.exports.cmis.fill import Filler, Tally
from collector.billing.exports.cmis.rows import cmis_rows
from collector.billing.exports.cmis.table1 import Row, Table1Reader, write_table1
from collector.billing.exports.cmis.values import CmisContext, Disagreement
from collector.billing.rating.preview import BillPreview
from collector.billing.rating.rate import rate_bills
from collector.billing.values import LineQuality, SnapshotLine
from collector.operations.rating import read_determinants
from tests.unit.collector.rating.making import built_in

FROM_AT = datetime(2026, 5, 19, 17, tzinfo=UTC)
TO_AT = datetime(2026, 6, 19, 17, tzinfo=UTC)
POINT = "PA25SL0000001001"
TOTAL, NORMAL, PEAK, OFF_PEAK = (f"1-0:1.8.{rate}" for rate in range(4))
CONTEXT = CmisContext(date(2026, 5, 20), date(2026, 6, 19), {"M1": 100_000_000, "M9": 100_000_000})

# As .NET writes a data set with its schema; the prefixes are its own.
SCHEMA = """<xs:schema id="NewDataSet" xmlns="" xmlns:xs="http://www.w3.org/2001/XMLSchema"
 xmlns:msdata="urn:schemas-microsoft-com:xml-msdata">
    <xs:element name="NewDataSet" msdata:IsDataSet="true" msdata:UseCurrentLocale="true">
      <xs:complexType>
        <xs:choice minOccurs="0" maxOccurs="unbounded">
          <xs:element name="Table1">
            <xs:complexType>
              <xs:sequence>
                {columns}
              </xs:sequence>
            </xs:complexType>
          </xs:element>
        </xs:choice>
      </xs:complexType>
    </xs:element>
  </xs:schema>"""
COLUMNS = {
    "MA_NVGCS": "string",
    "MA_KHANG": "string",
    "MA_DDO": "string",
    "BOCSO_ID": "long",
    "LOAI_BCS": "string",
    "TEN_KHANG": "string",
    "SERY_CTO": "string",
    "HSN": "decimal",
    "CS_CU": "decimal",
    "NGAY_CU": "dateTime",
    "CS_MOI": "decimal",
    "TTR_MOI": "string",
    "SL_MOI": "decimal",
    "CHUOI_GIA": "string",
    "NGAY_MOI": "dateTime",
    "SL_THAO": "decimal",
    "PMAX": "decimal",
    "NGAY_PMAX": "dateTime",
    "THEIR_OWN": "string",
}


def line(
    start: int | None,
    end: int | None,
    *,
    point: str = POINT,
    meter: str = "M1",
    register: str = TOTAL,
    multiplier: Fraction | int = 1,
    from_at: datetime = FROM_AT,
    to_at: datetime = TO_AT,
    consumption: int | None = 0,
    quality: LineQuality = LineQuality.ACTUAL,
) -> SnapshotLine:
    """A line; `consumption` only says whether there is one, unless a test looks at it."""
    ratio = Fraction(multiplier)
    if start is None or end is None:
        consumption = None
    elif consumption == 0 and end >= start:
        consumption = int(end * ratio) - int(start * ratio)
    return SnapshotLine(
        point, meter, register, start, end,
        None if start is None else from_at, None if end is None else to_at,
        ratio, consumption, LineQuality.NONE if consumption is None else quality,
    )  # fmt: skip


def exchanged(**changes: str) -> list[SnapshotLine]:
    """Golden case h of the domain: 154 kWh over an exchange."""
    at = FROM_AT + timedelta(days=12)
    register = changes.get("register", TOTAL)
    return [
        line(12_345_600, 12_398_200, meter="M0", to_at=at, register=register),
        line(300, 101_900, from_at=at, register=register),
    ]


def some_previews() -> list[BillPreview]:
    """Households, two price groups, three rates with reactive energy: of the golden bills."""
    folder = Path(__file__).parents[3] / "golden" / "bills"
    names = (
        "b13a-price-change-no-read",
        "b13d-production-rates-reactive",
        "b13e-household-and-business",
    )
    return [
        preview
        for name in names
        for preview in rate_bills(read_determinants(folder / f"{name}.json"), built_in())
    ]


def their_row(**columns: str) -> dict[str, str]:
    """A row of a reading book that waits for its new index; an empty value leaves it out."""
    row = {
        "MA_NVGCS": "gcs07",
        "MA_KHANG": POINT[:-3],
        "MA_DDO": POINT,
        "BOCSO_ID": "90210001",
        "LOAI_BCS": "KT",
        "TEN_KHANG": "Nguyễn Thị &amp; Con",
        "SERY_CTO": "M1",
        "HSN": "1",
        "CS_CU": "1000",
        "NGAY_CU": "2026-05-20T00:00:00+07:00",
        "CS_MOI": "0",
        "SL_MOI": "0",
        "CHUOI_GIA": "KT: 100%*1984-SHBT-A",
        "THEIR_OWN": " hai  dấu cách ",
    }
    return {name: text for name, text in (row | columns).items() if text}


def their_file(
    *rows: Mapping[str, str],
    schema: Mapping[str, str] | None = COLUMNS,
    before: str = '<?xml version="1.0" standalone="yes"?>\n',
) -> bytes:
    columns = "".join(
        f'<xs:element name="{name}" type="xs:{kind}" minOccurs="0" />'
        for name, kind in (schema or {}).items()
    )
    head = SCHEMA.format(columns=columns) if schema is not None else ""
    body = "".join(
        "<Table1>"
        + "".join(f"\n    <{name}>{text}</{name}>" for name, text in row.items())
        + "\n  </Table1>\n  "
        for row in rows
    )
    return f"{before}<NewDataSet>\n  {head}\n  {body}</NewDataSet>".encode()


def read_back(content: bytes) -> list[Row]:
    return list(Table1Reader(io.BytesIO(content), "back.xml").rows())


def texts(row: Row) -> dict[str, str]:
    return {name: cell.text for name, cell in row.items()}


def filled(
    theirs: bytes,
    lines: Sequence[SnapshotLine],
    context: CmisContext = CONTEXT,
    *,
    from_their_index: bool = False,
) -> tuple[list[dict[str, str]], Tally, bytes]:
    """The rows that go back, what became of them, and the file."""
    reader = Table1Reader(io.BytesIO(theirs), "theirs.xml")
    filler = Filler(
        reader.form, cmis_rows(lines, context), context, from_their_index=from_their_index
    )
    content = b"".join(write_table1(reader.form, filler.rows(reader.rows())))
    return [texts(row) for row in read_back(content)], filler.tally, content


def reasons(tally: Tally) -> list[str]:
    return [one.reason.value for one in tally.disagreements]


def only(tally: Tally) -> Disagreement:
    (found,) = tally.disagreements
    return found
