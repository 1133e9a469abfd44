"""What is wrong with a row, in Vietnamese: for whoever corrects the spreadsheet.

The English reasons are those that the registry's modules give, with `{}` for what they name. A test
fails while one of them is not here. It must not know where reasons are shown.
"""

import re
from functools import cache

# `{0}`, `{1}` … are what stands at the first, the second … `{}`.
REASONS = {
    "must not be empty": "không được để trống",
    "no such column": "không có cột này",
    "no such column; did you mean {}?": "không có cột này; có phải là cột {0}?",
    "this column is missing": "thiếu cột này",
    "this column is there twice": "cột này có hai lần",
    "{} cells for {} columns": "{0} ô cho {1} cột",
    "no CSV: {}": "không phải CSV: {0}",
    "more than {} rows": "nhiều hơn {0} dòng",
    "longer than {} characters": "dài hơn {0} ký tự",
    "must be printable and at most {} characters": "chỉ gồm ký tự in được, nhiều nhất {0} ký tự",
    "must not begin with {}": "không được bắt đầu bằng {0}",
    "{} must begin with a letter or digit and be printable": (
        "{0} phải bắt đầu bằng chữ cái hoặc chữ số và chỉ gồm ký tự in được"
    ),
    "{} is no code: 4 to 32 letters, digits, dots, - or _": (
        "{0} không phải là mã: 4 đến 32 chữ cái, chữ số, dấu chấm, - hoặc _"
    ),
    "{} is no telephone number: 6 to 20 digits, spaces, dots or -": (
        "{0} không phải là số điện thoại: 6 đến 20 chữ số, dấu cách, dấu chấm hoặc -"
    ),
    "{} is no e-mail address": "{0} không phải là địa chỉ thư điện tử",
    "{} is none of {}": "{0} không thuộc các giá trị {1}",
    "{} is no integer from {} to {}": "{0} không phải là số nguyên từ {1} đến {2}",
    "{} is no multiplier: write n or n/d": "{0} không phải là hệ số nhân: ghi n hoặc n/d",
    "{} is no per cent above 0 with at most two decimals": (
        "{0} không phải là phần trăm lớn hơn 0 với nhiều nhất hai chữ số thập phân"
    ),
    "{} is neither yes nor no": "{0} không phải là yes hoặc no",
    "{} is no date: write YYYY-MM-DD": "{0} không phải là ngày: ghi YYYY-MM-DD",
    "{} is not in the years {} to {}": "{0} không nằm trong các năm {1} đến {2}",
    "{} is neither an instant (RFC 3339) nor a date": (
        "{0} không phải là thời điểm (RFC 3339) cũng không phải là ngày"
    ),
    "{} has no offset: end it in Z or +07:00": "{0} thiếu múi giờ: thêm Z hoặc +07:00 ở cuối",
    "{} is finer than a millisecond": "{0} chi tiết hơn một mili giây",
    "{} is not 00:00 in {}: there is an index of that instant only": (
        "{0} không phải là 00:00 theo {1}: chỉ thời điểm đó mới có chỉ số chốt"
    ),
    "{} is no reading day: 1 to {}, or {}": (
        "{0} không phải là ngày ghi chỉ số: 1 đến {1}, hoặc {2}"
    ),
    "more than {} days a month": "nhiều hơn {0} ngày trong một tháng",
    "{} is not in ascending order": "{0} không theo thứ tự tăng dần",
    "more than {} seals": "nhiều hơn {0} chì niêm phong",
    "{} has a seal twice": "{0} có một số chì hai lần",
    "the same as row {}: give it once": "trùng với dòng {0}: chỉ ghi một lần",
    "the same point and instant as row {}": "cùng điểm đo và thời điểm với dòng {0}",
    "{} is not known: add it to {}": "{0} chưa có: thêm vào {1}",
    "contradicts what is stored: {}, not {}": "trái với dữ liệu đã lưu: {0}, không phải {1}",
    "a sub_meter has a parent, and nothing else has": (
        "công tơ phụ (sub_meter) phải có parent, loại khác thì không"
    ),
    "{} would be behind itself": "{0} sẽ đứng sau chính nó",
    "a register of the primary side has the ratio counted in: its multiplier is 1": (
        "chỉ số phía sơ cấp đã tính tỷ số biến: hệ số nhân là 1"
    ),
    "a head point stays: it measures its own station": (
        "điểm đo tổng không chuyển: nó đo chính trạm của mình"
    ),
    "{} is at {} then already": "{0} lúc đó đã ở {1}",
    "there is a removal index but no removed_at": "có chỉ số tháo nhưng thiếu removed_at",
    "removed_at must be after installed_at": "removed_at phải sau installed_at",
    "{} {} would be in two installations at once from {}: give the earlier one its removed_at": (
        "{0} {1} sẽ có hai lần lắp đặt cùng lúc từ {2}: ghi removed_at cho lần trước"
    ),
    "only the correction of an installation that is stored says instead of what": (
        "chỉ khi sửa một lần lắp đặt đã lưu mới ghi instead_of"
    ),
    "a head on the MV side needs the transformers' rating and losses": (
        "công tơ tổng đặt phía trung áp cần công suất và tổn thất của máy biến áp"
    ),
    "this is before the application was received": "trước ngày tiếp nhận hồ sơ",
    "to_at must be after from_at": "to_at phải sau from_at",
    "point {} would have two contracts at once from {}: give {} its to_at": (
        "điểm đo {0} sẽ có hai hợp đồng cùng lúc từ {1}: ghi to_at cho {2}"
    ),
    "contract {} is not in force then": "hợp đồng {0} lúc đó không có hiệu lực",
    "one of households, renters and renters_undeclared": (
        "chỉ một trong households, renters và renters_undeclared"
    ),
    "either percent or kwh": "hoặc percent, hoặc kwh",
    "no tariff has {}; there are: {}": "không biểu giá nào có {0}; hiện có: {1}",
    "the list of that instant is stored and whole: begin one later": (
        "chuỗi giá của thời điểm đó đã lưu và đầy đủ: bắt đầu chuỗi mới muộn hơn"
    ),
    "a list is of {} alone, or of {}": "một chuỗi giá chỉ gồm {0}, hoặc gồm {1}",
    "the per cents of {} are {} together, not 100: what is left has no price": (
        "tổng phần trăm của {0} là {1}, không phải 100: phần còn lại không có giá"
    ),
    "{} is there twice: it would have two quotas": "{0} có hai lần: sẽ có hai định mức",
    "a point has a position where it has a book, and only there": (
        "điểm đo có vị trí khi và chỉ khi có sổ ghi chỉ số"
    ),
    "this is not {}, whose rows these are": "không phải {0}, là tên của các dòng này",
}


def in_vietnamese(reason: str) -> str:
    """The reason in Vietnamese; as it is where it is not known."""
    for pattern, text in _patterns():
        match = pattern.fullmatch(reason)
        if match:
            return text.format(*match.groups())
    return reason


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    # What says most first: "{} is none of {}" would be found in much.
    ordered = sorted(REASONS.items(), key=lambda pair: -len(pair[0]))
    return tuple(
        (re.compile("(.+?)".join(map(re.escape, english.split("{}"))), re.DOTALL), text)
        for english, text in ordered
    )
