"""Numbers and days as they are written on Vietnamese papers.

It computes with integers; it must not know what a number means.
"""

from datetime import date

_DIGITS = ("không", "một", "hai", "ba", "bốn", "năm", "sáu", "bảy", "tám", "chín")
_GROUPS = ("", "nghìn", "triệu")
_BILLION = "tỷ"


def grouped(value: int) -> str:
    """1234567 as 1.234.567."""
    return f"{value:,}".replace(",", ".")


def kilo(value: int | None) -> str:
    """Wh as kWh with three decimals, exactly: 1234567 as 1.234,567; an en dash for None."""
    if value is None:
        return "–"
    whole, rest = divmod(abs(value), 1000)
    sign = "-" if value < 0 else ""
    return f"{sign}{grouped(whole)},{rest:03}"


def hundredths(value: int) -> str:
    """Hundredths as a decimal without zeros at its end: 800 as 8, 1538 as 15,38."""
    whole, rest = divmod(value, 100)
    return grouped(whole) + (f",{rest:02}".rstrip("0") if rest else "")


def day(value: date) -> str:
    """A civil day, as 31/01/2026."""
    return f"{value:%d/%m/%Y}"


def in_words(value: int) -> str:
    """A whole number of zero or more in words: 1005000 as "một triệu không trăm linh năm nghìn"."""
    assert value >= 0, "papers have no negative sums"
    if value == 0:
        return _DIGITS[0]
    words: list[str] = []
    billions, rest = divmod(value, 10**9)
    if billions:
        words += [in_words(billions), _BILLION]
    for power in (2, 1, 0):
        group, rest = divmod(rest, 10 ** (3 * power))
        if group:
            words += _hundreds(group, is_first=not words)
            if _GROUPS[power]:
                words.append(_GROUPS[power])
    return " ".join(words)


def _hundreds(value: int, *, is_first: bool) -> list[str]:
    """A group of three digits; one that is not the first says its zeros."""
    hundreds, rest = divmod(value, 100)
    tens, ones = divmod(rest, 10)
    words: list[str] = []
    has_hundreds = bool(hundreds) or not is_first
    if has_hundreds:
        words += [_DIGITS[hundreds], "trăm"]
    if tens == 1:
        words.append("mười")
    elif tens > 1:
        words += [_DIGITS[tens], "mươi"]
    elif ones and has_hundreds:
        words.append("linh")
    if ones == 1 and tens > 1:
        words.append("mốt")
    elif ones == 5 and tens:
        words.append("lăm")
    elif ones:
        words.append(_DIGITS[ones])
    return words
