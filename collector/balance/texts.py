"""Causes, bands, standings and notes as people read them, in English and Vietnamese side by side.

Words only; it must not know when a cause is named.
"""

from typing import NamedTuple

from collector.balance.causes import Kind
from collector.balance.energy import Doubt
from collector.balance.losses import Band, Standing
from collector.balance.transformer import TechnicalNote

LANGUAGES = ("en", "vi")


class Text(NamedTuple):
    """One text in each of LANGUAGES."""

    en: str
    vi: str

    def of(self, language: str) -> str:
        """The text in a language; English where there is none in it."""
        return self.vi if language == "vi" else self.en


CAUSES = {
    Kind.HEAD_UNKNOWN: Text(
        "head meter without an index: read it by hand, check its line and its installation",
        "công tơ tổng không có chỉ số: đọc trực tiếp, kiểm tra đường truyền và việc lắp đặt",
    ),
    Kind.POINT_UNKNOWN: Text(
        "points without an index, counted as nothing: read them by hand",
        "điểm đo không có chỉ số, đang tính bằng không: đọc trực tiếp",
    ),
    Kind.NOT_SIMULTANEOUS: Text(
        "not read at the same instant, estimated, or by a wrong clock: read again, set the clock",
        "chỉ số không đồng thời, tạm tính hoặc sai đồng hồ: đọc lại, chỉnh giờ công tơ",
    ),
    Kind.MULTIPLIER: Text(
        "wrong multiplier: compare CT and VT plates with the registry, head and points",
        "sai hệ số nhân: đối chiếu biển TU, TI với hồ sơ, cả công tơ tổng và các điểm đo",
    ),
    Kind.EXCHANGE_WITHOUT_INDEX: Text(
        "meter exchanged without its index: take it from the exchange's papers or the old meter",
        "thay công tơ không ghi chỉ số: lấy từ biên bản treo tháo hoặc từ công tơ cũ",
    ),
    Kind.WENT_BACKWARD: Text(
        "an index went backwards: wrong meter at the address, or a replaced one not recorded",
        "chỉ số lùi: sai công tơ tại địa chỉ, hoặc đã thay mà chưa ghi nhận",
    ),
    Kind.TRANSFER_NOT_RECORDED: Text(
        "another station's loss changed by the same the other way: a transfer not recorded",
        "tổn thất trạm khác thay đổi ngược chiều cùng mức: chuyển tải chưa ghi nhận",
    ),
    Kind.TRANSFER: Text(
        "points were transferred: check that the date and the station are what the line crew did",
        "có điểm đo chuyển tải: kiểm tra ngày và trạm có đúng thực tế",
    ),
    Kind.SOLAR: Text(
        "solar export not counted: read export (2.8.0) of points with rooftop panels",
        "chưa tính điện mặt trời phát lên lưới: đọc chiều giao (2.8.0) của khách có điện mái nhà",
    ),
    Kind.FELL_TO_ZERO: Text(
        "points that used energy before and none now: stopped or burnt meter, bypass, empty house",
        "điểm đo trước có dùng nay bằng không: công tơ đứng, cháy, đấu tắt hoặc nhà vắng",
    ),
    Kind.POLARITY: Text(
        "points at about a third of before: one CT the wrong way round",
        "điểm đo còn khoảng một phần ba: một TI đấu ngược cực tính",
    ),
    Kind.LOST_PHASE: Text(
        "points at about two thirds of before: a phase lost at the meter, or phases swapped",
        "điểm đo còn khoảng hai phần ba: mất một pha tại công tơ, hoặc đấu sai thứ tự pha",
    ),
    Kind.FELL: Text(
        "points that fell while the others did not: meter running slow, bypass, or less use",
        "điểm đo giảm khi các điểm khác không giảm: công tơ chạy chậm, câu tắt hoặc dùng ít đi",
    ),
    Kind.WRONG_STATION: Text(
        "a point of another station is counted here, or one of this station elsewhere or nowhere",
        "điểm đo gán nhầm trạm: của trạm khác tính vào đây, hoặc của trạm này bị bỏ sót",
    ),
    Kind.HEAD_METERING: Text(
        "head metering: CT polarity, phase order, a lost phase or voltage, the ratio on the plate",
        "mạch đo công tơ tổng: cực tính TI, thứ tự pha, mất pha hoặc mất áp, tỷ số trên biển",
    ),
    Kind.THEFT: Text(
        "energy taken before or beside the meters: walk the line, compare by phase and by hour",
        "trộm cắp điện, câu móc trước công tơ: kiểm tra tuyến dây, so sánh theo pha và theo giờ",
    ),
}

BANDS = {
    Band.NEGATIVE: Text("negative", "âm"),
    Band.LOW: Text("too low", "quá thấp"),
    Band.NORMAL: Text("normal", "bình thường"),
    Band.WARN: Text("high", "cao"),
    Band.ALARM: Text("too high", "quá cao"),
    Band.UNKNOWN: Text("unknown", "chưa rõ"),
}

STANDINGS = {
    Standing.RANKED: Text("compared", "có xếp hạng"),
    Standing.NO_HEAD: Text("head unknown", "thiếu công tơ tổng"),
    Standing.UNKNOWN_POINTS: Text("points unknown", "thiếu điểm đo"),
    Standing.HEAD_IS_CUSTOMER: Text(
        "one meter, head and customer", "công tơ tổng là công tơ khách"
    ),
    Standing.BOUNDARY: Text("boundary meters", "công tơ ranh giới"),
    Standing.BEHIND_MASTER: Text("behind a wholesale master", "sau công tơ bán buôn"),
}

TECHNICAL = {
    TechnicalNote.COMPUTED: Text("from transformer data", "tính từ số liệu máy biến áp"),
    TechnicalNote.HEAD_ON_LV: Text("head on the LV side", "công tơ tổng phía hạ áp"),
    TechnicalNote.NO_DATA: Text("no transformer data", "chưa có số liệu máy biến áp"),
    TechnicalNote.NO_HEAD: Text("head unknown", "thiếu công tơ tổng"),
}

DOUBTS = {
    Doubt.ALONE: Text("within the hour, not interpolated", "trong một giờ, không nội suy"),
    Doubt.FAR: Text("read more than an hour off", "chỉ số cách quá một giờ"),
    Doubt.MISSING: Text("no index within a day", "không có chỉ số trong một ngày"),
    Doubt.BACKWARD: Text("went backwards", "chỉ số lùi"),
    Doubt.ESTIMATED: Text("estimated", "tạm tính"),
    Doubt.UNSURE_CLOCK: Text("by a wrong clock", "đồng hồ sai giờ"),
    Doubt.NO_METER: Text("without a meter for a time", "có lúc không có công tơ"),
}
