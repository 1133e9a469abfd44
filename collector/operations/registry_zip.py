"""The registry's CSV files in one zip file: read with bounds, written with the same bytes again.

A zip comes from anybody: it is bounded before and while it is read. It must not know what a file
means.
"""

import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import IO

from collector.errors import InvalidRequest

ZIP_SUFFIX = ".zip"

# What a workbook is told by: it is a zip file too.
_WORKBOOK_PART = "[Content_Types].xml"

ZIP_BYTES_MAX = 64 * 1024 * 1024
UNPACKED_BYTES_MAX = 256 * 1024 * 1024
MEMBERS_MAX = 100

# The oldest date that a zip file knows: what has no date has the same bytes again.
_NO_DATE = (1980, 1, 1, 0, 0, 0)

_HINT = "send a zip file of the CSV files, or a workbook (docs/registry-files.md)"


def is_workbook(path: Path) -> bool:
    """Whether a file is a workbook, whatever it is called. Raises InvalidRequest for no zip."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _WORKBOOK_PART in archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise InvalidRequest(f"this is no zip file and no workbook: {error}", hint=_HINT) from error


def read_zip(path: Path, names: Collection[str]) -> dict[str, str]:
    """The files of these names as text, wherever in the zip they are; others are not read.

    Raises InvalidRequest for what is no zip, is larger than its bounds, has a file twice, has none
    of them, or is not UTF-8.
    """
    texts: dict[str, str] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > MEMBERS_MAX:
                raise InvalidRequest(f"the zip has more than {MEMBERS_MAX} files", hint=_HINT)
            left = UNPACKED_BYTES_MAX
            for member in members:
                name = PurePosixPath(member.filename).name
                if name not in names or member.is_dir():
                    continue
                if name in texts:
                    raise InvalidRequest(f"the zip has {name} twice", hint="leave one out")
                with archive.open(member) as stream:
                    text = _text(stream, name, left)
                left -= len(text)
                texts[name] = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"{name} is not UTF-8: {error.reason} at byte {error.start}",
            hint="save it as CSV UTF-8",
        ) from error
    except (
        zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, zlib.error,
    ) as error:  # fmt: skip
        # Damaged, encrypted, or packed in a way that is not known here.
        raise InvalidRequest(f"the zip file cannot be read: {error}", hint=_HINT) from error
    if not texts:
        raise InvalidRequest(
            "the zip has no registry files", hint=f"expected are {', '.join(names)}"
        )
    return texts


def write_zip(stream: IO[bytes], texts: Mapping[str, str]) -> None:
    """The files in their order; the same texts make the same bytes."""
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            archive.writestr(zipfile.ZipInfo(name, _NO_DATE), text.encode(), zipfile.ZIP_DEFLATED)


def _text(stream: IO[bytes], name: str, left: int) -> bytes:
    """A file's bytes, whatever size it says it has."""
    text = stream.read(left + 1)
    if len(text) > left:
        raise InvalidRequest(
            f"the zip unpacks to more than {UNPACKED_BYTES_MAX} bytes at {name}",
            hint="import it in parts: what is stored stays",
        )
    return text
