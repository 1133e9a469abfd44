"""Real messages and files, damaged: what comes over a bad line, from a bad disk or on purpose."""

from typing import Any

from hypothesis import strategies as st

# Bytes that mean something to one form or another: what is damaged stays nearly right.
_PIECES = st.binary(max_size=6) | st.sampled_from(
    [b"\0", b"\n", b'"', b",", b"[", b"{", b"}", b"<", b"&#0;", b"\xff\xff", b"-1", b"1e999", b"null",
     b"9" * 25, b"\\ud800", b"'", b"*a", b"&a", b": ", b"- "]
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, originals: list[bytes]) -> bytes:
    """One of the originals with up to eight places cut out, doubled, moved or overwritten."""
    content = draw(st.sampled_from(originals))
    for _ in range(draw(st.integers(0, 8))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 40)))
        part = content[start:end]
        match draw(st.sampled_from(["cut", "double", "move", "put", "end"])):
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


_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["", "\0", "x" * 300, "2026-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0001"])
)


@st.composite
def altered(draw: st.DrawFn, originals: list[Any]) -> Any:  # noqa: ANN401  JSON
    """One of these documents with some of its parts left out, or something else in their place."""
    return _altered(draw, draw(st.sampled_from(originals)), draw(st.integers(0, 20)))


def _altered(draw: st.DrawFn, value: Any, one_in: int) -> Any:  # noqa: ANN401  JSON
    if one_in and draw(st.integers(0, one_in)) == one_in:
        return draw(_SCALARS)
    if isinstance(value, dict):
        return {
            key: _altered(draw, part, one_in)
            for key, part in value.items()
            if not one_in or draw(st.integers(0, 30)) != 30
        }
    if isinstance(value, list):
        return [_altered(draw, part, one_in) for part in value]
    return value
