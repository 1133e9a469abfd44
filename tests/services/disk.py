"""A small file system of its own, and how to fill it. Only root can mount one."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, mib: int) -> Iterator[Path]:
    """`folder`, made, with a file system of `mib` MiB mounted there."""
    if os.geteuid() != 0:
        pytest.skip("a file system can be mounted by root only; `make test` as root runs this")
    folder.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "songlo-test", folder], check=True
    )
    try:
        yield folder
    finally:
        # Lazily: a test that failed may have left a file open, and its failure is the one to see.
        subprocess.run(["umount", "-l", folder], check=True)


def fill_up(file: Path) -> None:
    """Take what is left of the disk that `file` is on."""
    with suppress(OSError), file.open("wb", buffering=0) as stream:
        while stream.write(b"x" * 4096):
            pass
