"""Real messages and files, damaged: what comes over a bad line, from a bad disk or on purpose."""

from collections.abc import Iterable, Iterator
from typing import Any

from hypothesis import strategies as st

# Bytes that mean something to one form or another: what is damaged stays nearly right.
PIECES = (
    b"\0", b"\n", b'"', b",", b"[", b"{", b"}", b"<", b"&#0;", b"\xff\xff", b"-1", b"1e999",
    b"null", b"9" * 25, b"\\ud800", b"'", b"*a", b"&a", b": ", b"- ", b'"x"y',
)  # fmt: skip
_PIECES = st.binary(max_size=6) | st.sampled_from(PIECES)


@st.composite
def damaged(draw: st.DrawFn, originals: list[bytes]) -> bytes:
    """One of the originals with up to eight places cut out, doubled, moved or overwritten."""
    content = draw(st.sampled_from(originals))
    for _ in range(draw(st.integers(0, 8))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 40)))
        part = content[start:end]
        match draw(st.sampled_from(["over", "put", "cut", "double", "move", "end"])):
            case "over":
                there = draw(_PIECES)[: len(content) - start]
                content = content[:start] + there + content[start + len(there) :]
            case "cut":
                content = content[:start] + content[end:]
            case "double":
                content = content[:end] + part + content[end:]
            case "move":
                content = part + content[:start] + content[end:]
            case "put":
                content = content[:start] + draw(_PIECES) + content[end:]
            case _:
                content = content[:start] or content
    return content


# What is at an edge of something: of a database's numbers, of a name's length, of time.
HOSTILE: tuple[Any, ...] = (
    None, True, -1, 0, 2**31, 2**53, 2**63, 2**70, -(2**63) - 1, 0.5, 1e308, "", "\0", "\ud800",
    "x" * 300, "a/b", "1-0:1.8.0", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z",
    "2026-11-24T17:00:00+23:59", [], {}, [[]],
)  # fmt: skip


def places(value: Any) -> Iterator[tuple[Any, ...]]:  # noqa: ANN401  JSON
    """The way to each part of a document."""
    parts: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, list):
        parts = enumerate(value)
    for key, part in parts:
        yield (key,)
        for way in places(part):
            yield (key, *way)


def replaced(value: Any, way: tuple[Any, ...], new: Any) -> Any:  # noqa: ANN401  JSON
    """The document with something else at a place, which is there."""
    if not way:
        return new
    copy = value.copy()
    copy[way[0]] = replaced(value[way[0]], way[1:], new)
    return copy


def each_part_replaced(document: Any) -> Iterator[Any]:  # noqa: ANN401  JSON
    """The document with each of its parts replaced by each value of HOSTILE, one at a time."""
    for way in places(document):
        for new in HOSTILE:
            yield replaced(document, way, new)


@st.composite
def altered(draw: st.DrawFn, originals: list[Any]) -> Any:  # noqa: ANN401  JSON
    """One of these documents with up to four of its parts replaced."""
    document = draw(st.sampled_from(originals))
    for _ in range(draw(st.integers(1, 4))):
        if not (ways := list(places(document))):
            break
        document = replaced(document, draw(st.sampled_from(ways)), draw(st.sampled_from(HOSTILE)))
    return document
