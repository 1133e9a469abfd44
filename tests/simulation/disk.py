"""Disks that lose what was not synced: a layer between SQLite and the files it keeps.

Registered as SQLite's default VFS (sqlite.org/vfs.html) of this process: whoever opens a database
in a folder that belongs to a `Disk` writes through here, anyone else as always. The files are real
ones; what is recorded of each is what a power cut would take back. The SQLite that Python's
`sqlite3` is linked with is the one that is extended, so the product's own code runs unchanged.
"""

import _sqlite3
import ctypes
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

SECTOR_BYTES = (512, 4096)

_OK = 0
_IOERR = 10
_FULL = 13
_IOERR_FSYNC = _IOERR | 4 << 8
_IOERR_WRITE = _IOERR | 3 << 8
_OPEN_MAIN_DB = 0x100
_OPEN_WAL = 0x80000

_Pointer = ctypes.c_void_p
_Close = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer)
_Write = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer, _Pointer, ctypes.c_int, ctypes.c_int64)
_Truncate = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer, ctypes.c_int64)
_Sync = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer, ctypes.c_int)
_Open = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer, _Pointer, _Pointer, ctypes.c_int, _Pointer)
_Delete = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer, ctypes.c_char_p, ctypes.c_int)


class _IoMethods(ctypes.Structure):
    """`sqlite3_io_methods` up to what is replaced here; the rest is copied as it is."""

    _fields_ = [
        ("version", ctypes.c_int),
        ("close", _Pointer),
        ("read", _Pointer),
        ("write", _Pointer),
        ("truncate", _Pointer),
        ("sync", _Pointer),
        ("rest", _Pointer * 13),
    ]


class _File(ctypes.Structure):
    """`sqlite3_file`."""

    _fields_ = [("methods", ctypes.POINTER(_IoMethods))]


class _Vfs(ctypes.Structure):
    """`sqlite3_vfs`."""

    _fields_ = [
        ("version", ctypes.c_int),
        ("file_bytes", ctypes.c_int),
        ("path_max", ctypes.c_int),
        ("next", _Pointer),
        ("name", ctypes.c_char_p),
        ("data", _Pointer),
        ("open", _Pointer),
        ("delete", _Pointer),
        ("rest", _Pointer * 14),
    ]


@dataclass(slots=True)
class _Change:
    """One write, or a cut at `offset` where `after` is None."""

    offset: int
    before: bytes  # what was there, up to the old end of the file
    after: bytes | None


@dataclass(slots=True)
class _Tracked:
    """One file that SQLite has open, perhaps several times."""

    disk: "Disk"
    path: str
    fd: int
    size: int
    unsynced: list[_Change] = field(default_factory=list)
    opened: int = 0


@dataclass(frozen=True, slots=True)
class Image:
    """What a disk holds: its files' contents by name."""

    files: dict[str, bytes]


Effect = Callable[[str], None]


class Disk:
    """A folder as a disk. `effect` is called before each write, sync, cut and deletion by SQLite.

    `effect` may call `die`. A dead disk takes nothing more, and all that asked it get errors.
    `quota_bytes` bounds what it may hold; `sync_fails` makes the next syncs fail.
    """

    def __init__(self, folder: Path, effect: Effect = lambda _: None) -> None:
        self.folder = folder
        self.effect = effect
        self.dead = False
        self.quota_bytes: int | None = None
        self.sync_fails = 0
        self.image: Image | None = None
        folder.mkdir(parents=True, exist_ok=True)
        _disks[str(folder)] = self

    @classmethod
    def of(cls, path: str | Path) -> "Disk | None":
        """The disk that a file is on."""
        return _disks.get(os.path.dirname(path))

    def forget(self) -> None:
        """Remove the folder and all that is in it."""
        _disks.pop(str(self.folder), None)
        for tracked in list(_tracked.values()):
            if tracked.disk is self:
                _let_go(tracked)
        shutil.rmtree(self.folder, ignore_errors=True)

    def used_bytes(self) -> int:
        """What its files take."""
        return sum(entry.stat().st_size for entry in os.scandir(self.folder) if entry.is_file())

    def free_bytes(self) -> int:
        """What it has left; very much where nothing bounds it."""
        if self.quota_bytes is None:
            return 1 << 40
        return max(0, self.quota_bytes - self.used_bytes())

    def look(self) -> Image:
        """What it holds now, synced or not."""
        return Image(
            {
                entry.name: Path(entry.path).read_bytes()
                for entry in sorted(os.scandir(self.folder), key=lambda entry: entry.name)
                if entry.is_file() and not entry.name.endswith(("-shm", ".lock", ".ballast"))
            }
        )

    def after_power_cut(self, chance: random.Random) -> Image:
        """What it would hold had the power gone now: of what was not synced, any part."""
        sector = chance.choice(SECTOR_BYTES)
        kept = chance.choice((0.0, 0.5, 1.0))
        image = self.look().files
        for tracked in _tracked.values():
            name = os.path.basename(tracked.path)
            if tracked.disk is self and tracked.unsynced and name in image:
                image[name] = _torn(image[name], tracked.unsynced, sector, kept, chance)
        return Image(image)

    def die(self, image: Image) -> None:
        """Take nothing more from now on; `image` is what will be found when it lives again."""
        self.dead = True
        self.image = image

    def put(self, image: Image) -> None:
        """Hold what `image` holds, and nothing else; nobody may have a file open."""
        for tracked in list(_tracked.values()):
            if tracked.disk is self:
                _let_go(tracked)
        for entry in os.scandir(self.folder):
            os.unlink(entry.path)
        for name, content in image.files.items():
            (self.folder / name).write_bytes(content)
        self.dead = False
        self.image = None


def _torn(
    content: bytes,
    changes: list[_Change],
    sector: int,
    kept: float,
    chance: random.Random,
) -> bytes:
    """The file with the unsynced `changes` taken back, and then some of their sectors kept."""
    now = bytearray(content)
    for change in reversed(changes):
        if change.after is None:
            now[change.offset :] = change.before
        else:
            now[change.offset : change.offset + len(change.after)] = change.before
    for change in changes:
        if change.after is None:
            if chance.random() < kept:
                del now[change.offset :]
            continue
        at, end = change.offset, change.offset + len(change.after)
        while at < end:
            until = min(end, (at // sector + 1) * sector)
            if chance.random() < kept:
                if len(now) < at:
                    now.extend(bytes(at - len(now)))
                now[at:until] = change.after[at - change.offset : until - change.offset]
            at = until
    return bytes(now)


# --- SQLite's side ------------------------------------------------------------------------------

_disks: dict[str, Disk] = {}
_tracked: dict[str, _Tracked] = {}
_by_file: dict[int, _Tracked] = {}
_closes: dict[int, Callable[..., int]] = {}
# By the address of the original ones: files of several kinds have several.
_methods: dict[int, tuple[_IoMethods, Callable[..., int]]] = {}


def _let_go(tracked: _Tracked) -> None:
    if _tracked.pop(tracked.path, None) is not None:
        os.close(tracked.fd)


def _write(file: int, data: int, count: int, offset: int) -> int:
    tracked = _by_file[file]
    disk = tracked.disk
    if not disk.dead:
        disk.effect("write")
    if disk.dead:
        return _IOERR_WRITE
    end = offset + count
    grows = end - tracked.size
    if grows > 0 and disk.quota_bytes is not None and disk.free_bytes() < grows:
        return _FULL
    before = os.pread(tracked.fd, count, offset) if offset < tracked.size else b""
    after = ctypes.string_at(data, count)
    os.pwrite(tracked.fd, after, offset)
    tracked.size = max(tracked.size, end)
    tracked.unsynced.append(_Change(offset, before, after))
    return _OK


def _truncate(file: int, size: int) -> int:
    tracked = _by_file[file]
    disk = tracked.disk
    if not disk.dead:
        disk.effect("truncate")
    if disk.dead:
        return _IOERR
    if size < tracked.size:
        before = os.pread(tracked.fd, tracked.size - size, size)
        tracked.unsynced.append(_Change(size, before, None))
    os.ftruncate(tracked.fd, size)
    tracked.size = size
    return _OK


def _sync(file: int, _flags: int) -> int:
    tracked = _by_file[file]
    disk = tracked.disk
    if not disk.dead:
        disk.effect("sync")
    if disk.dead:
        return _IOERR_FSYNC
    if disk.sync_fails > 0:
        disk.sync_fails -= 1
        return _IOERR_FSYNC
    tracked.unsynced.clear()
    return _OK


def _close(file: int) -> int:
    # What nobody has open any more is still unsynced: it is let go of with its disk.
    _by_file.pop(file).opened -= 1
    return int(_closes.pop(file)(file))


def _open(vfs: int, name: int | None, file: int, flags: int, out: int) -> int:
    # The name is handed on as the pointer that it is: SQLite keeps it, and what stands before it.
    result = int(_original_open[0](vfs, name, file, flags, out))
    if result != _OK or name is None or not flags & (_OPEN_MAIN_DB | _OPEN_WAL):
        return result
    path = ctypes.string_at(name).decode()
    disk = Disk.of(path)
    if disk is None:
        return result
    tracked = _tracked.get(path)
    if tracked is None:
        fd = os.open(path, os.O_RDWR)
        tracked = _tracked[path] = _Tracked(disk, path, fd, os.fstat(fd).st_size)
    tracked.opened += 1
    _by_file[file] = tracked
    opened = _File.from_address(file)
    ours, _closes[file] = _replaced(ctypes.addressof(opened.methods.contents))
    opened.methods = ctypes.pointer(ours)
    return result


def _address(function: object) -> int:
    return ctypes.cast(function, _Pointer).value or 0  # type: ignore[arg-type]


def _replaced(address: int) -> "tuple[_IoMethods, Callable[..., int]]":
    """The methods at `address` with ours in the place of those that change a file; its close."""
    if address not in _methods:
        ours = _IoMethods()
        ctypes.memmove(ctypes.addressof(ours), address, ctypes.sizeof(_IoMethods))
        close = _Close(ours.close)
        ours.close, ours.write, ours.truncate, ours.sync = map(_address, _callbacks)
        _methods[address] = ours, close
    return _methods[address]


def _delete(vfs: int, name: bytes, sync_directory: int) -> int:
    path = name.decode()
    disk = Disk.of(path)
    if disk is not None:
        if not disk.dead:
            disk.effect("delete")
        if disk.dead:
            return _IOERR
        if (tracked := _tracked.get(path)) is not None and not tracked.opened:
            _let_go(tracked)
    return int(_original_delete[0](vfs, name, sync_directory))


_callbacks = (_Close(_close), _Write(_write), _Truncate(_truncate), _Sync(_sync))
_vfs_callbacks = (_Open(_open), _Delete(_delete))
_original_open: list[Callable[..., int]] = []
_original_delete: list[Callable[..., int]] = []
_kept: list[object] = []


def install() -> None:
    """Have every database that this process opens from now on go through here; once."""
    if _kept:
        return
    library = ctypes.CDLL(_sqlite3.__file__)
    library.sqlite3_vfs_find.restype = _Pointer
    found = library.sqlite3_vfs_find(None)
    ours = _Vfs()
    ctypes.memmove(ctypes.addressof(ours), found, ctypes.sizeof(_Vfs))
    _original_open.append(_Open(ours.open))
    _original_delete.append(_Delete(ours.delete))
    ours.open, ours.delete = _address(_vfs_callbacks[0]), _address(_vfs_callbacks[1])
    ours.name = b"songlo-simulation"
    _kept.extend((library, ours))
    if library.sqlite3_vfs_register(ctypes.byref(ours), 1) != _OK:
        raise RuntimeError("SQLite does not take another VFS")


def forget_all() -> None:
    """Let go of every file; nobody may have one open."""
    for tracked in list(_tracked.values()):
        _let_go(tracked)
    _disks.clear()
    _by_file.clear()
    _closes.clear()
