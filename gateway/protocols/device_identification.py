"""Modbus function 43/14, Read Device Identification: what a device calls itself, in words.

Builds the request's PDU and reads the reply's. It must not know how they travel, nor which device
is asked. Source: Modbus Application Protocol V1.1b3, 6.21.
"""

from dataclasses import dataclass

FUNCTION = 0x2B
MEI_TYPE = 0x0E
VENDOR, PRODUCT, REVISION = 0, 1, 2  # the basic category, which every such device must have

_BASIC, _REGULAR, _EXTENDED = 1, 2, 3
_REGULAR_FROM, _EXTENDED_FROM = 3, 0x80
_HEAD_BYTES = 7  # function, type, category, conformity, more follows, next object, their number
_MORE_FOLLOWS = 0xFF


@dataclass(frozen=True, slots=True)
class ObjectsReply:
    """Some objects by number; `next_object` is where the rest begins, None when that was all."""

    objects: dict[int, bytes]
    next_object: int | None


def request(number: int) -> bytes:
    """The PDU that asks for the objects of the category of `number`, from that one on."""
    category = _BASIC
    if number >= _REGULAR_FROM:
        category = _EXTENDED if number >= _EXTENDED_FROM else _REGULAR
    return bytes((FUNCTION, MEI_TYPE, category, number))


def reply_bytes(pdu: bytes) -> int | None:
    """How many bytes the PDU that begins like this has; None while too little of it is there."""
    if len(pdu) < _HEAD_BYTES:
        return None
    end = _HEAD_BYTES
    for _ in range(pdu[_HEAD_BYTES - 1]):
        if len(pdu) < end + 2:
            return None
        end += 2 + pdu[end + 1]
    return end


def parse(pdu: bytes) -> ObjectsReply | None:
    """What a whole PDU says; None if it is no such reply."""
    if pdu[:2] != bytes((FUNCTION, MEI_TYPE)) or reply_bytes(pdu) != len(pdu):
        return None
    objects: dict[int, bytes] = {}
    at = _HEAD_BYTES
    for _ in range(pdu[_HEAD_BYTES - 1]):
        objects[pdu[at]] = pdu[at + 2 : at + 2 + pdu[at + 1]]
        at += 2 + pdu[at + 1]
    return ObjectsReply(objects, pdu[5] if pdu[4] == _MORE_FOLLOWS else None)
