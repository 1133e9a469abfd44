"""Entity tags: whether a caller holds what it asks for already (RFC 9110, section 13.1.2)."""

import re

from starlette.requests import Request

_TAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')


def strong_tags(value: str) -> frozenset[str]:
    """What is in the quotes of an `If-Match`; weak tags match nothing there."""
    return frozenset(
        match[1][1:-1] for match in _TAG.finditer(value) if not match[0].startswith("W/")
    )


def is_held(request: Request, tag: str) -> bool:
    """Whether `If-None-Match` names `tag` (as it is sent, in quotes), or is `*`."""
    value = ", ".join(request.headers.getlist("If-None-Match")).strip()
    return value == "*" or tag in _TAG.findall(value)
