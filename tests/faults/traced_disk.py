"""What a disk may hold after a power cut, from a trace of what a real program did to it.

The program runs under strace, which writes down its writes, syncs and changes of names with all
their bytes. A disk is then what was synced, and of the rest any sectors: that is what POSIX
promises, and a card keeps no more. Where something was traced that this does not understand, it
says so instead of guessing; `check` holds what it understood against the real files.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.services.process import find_program

SECTOR_BYTES = (512, 4096)
# SQLite maps it and never syncs it: what stands there after a power cut is anyone's guess.
NOT_RECORDED = "-shm"

_WRITES = "write,pwrite64,ftruncate,fallocate,fsync,fdatasync"
_NAMES = "open,openat,creat,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat"
# What would change files unseen; none of them may touch the folder.
_OTHERS = (
    "writev,pwritev,pwritev2,truncate,sync_file_range,link,linkat,symlink,symlinkat,"
    "sendfile,copy_file_range,rmdir,msync"
)

_LINE = re.compile(r"(\d+) +(.*)")
_CALL = re.compile(r"(\w+)\((.*)\) += (\?|-?\d+)")
_WORD = re.compile(r'"((?:\\x[0-9a-f]{2})*)"|-?\d+<((?:\\x[0-9a-f]{2})*)>(\(deleted\))?')


def command(trace: Path, words: list[str], dies_at: tuple[str, int] | None = None) -> list[str]:
    """`words` under strace; killed as its nth call of that kind begins, counted in each thread."""
    made = [
        find_program("strace", "strace"),
        "-f",
        "-q",
        "-y",
        "-xx",
        "-s",
        "10000000",
        "-o",
        str(trace),
    ]
    made += ["-e", f"trace={_WRITES},{_NAMES},{_OTHERS}", "-e", "signal=none"]
    if dies_at is not None:
        made += ["-e", f"inject={dies_at[0]}:signal=SIGKILL:when={dies_at[1]}"]
    return [*made, "--", *words]


@dataclass(slots=True)
class _Change:
    """Bytes written at `offset`; where there are none, the file ends at `offset`."""

    offset: int
    data: bytes | None
    ended: bool = True  # the call returned: what was written is there for all who read


@dataclass(slots=True)
class _File:
    """What the disk has of a file for certain, and what it was told since."""

    synced: bytearray = field(default_factory=bytearray)
    changes: list[_Change] = field(default_factory=list)

    def content(self, *, unfinished: bool) -> bytes:
        """What a reader sees while the power is on."""
        content = bytearray(self.synced)
        for change in self.changes:
            if change.ended or unfinished:
                _apply(content, change.offset, change.data)
        return bytes(content)

    def torn(self, sector: int, kept: float, chance: random.Random) -> bytes:
        """What was synced, and each sector of the rest with the chance `kept`."""
        content = bytearray(self.synced)
        for change in self.changes:
            if change.data is None:
                if chance.random() < kept:
                    _apply(content, change.offset, None)
                continue
            at, end = change.offset, change.offset + len(change.data)
            while at < end:
                until = min(end, (at // sector + 1) * sector)
                if chance.random() < kept:
                    part = change.data[at - change.offset : until - change.offset]
                    _apply(content, at, part)
                at = until
        return bytes(content)


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    if data is None:
        del content[offset:]
    else:
        content[offset : offset + len(data)] = data


@dataclass(frozen=True, slots=True)
class _Naming:
    """A name that came, went or changed, until its folder is synced."""

    old: str | None
    new: str | None
    file: _File


@dataclass(slots=True)
class _Call:
    """One call of the trace. `result` is None where the program died in it."""

    name: str
    words: str
    result: int | None = None
    # Of a sync: how many changes there were when it began. Later ones are not in it.
    covers: int = 0


class NotUnderstood(AssertionError):
    """The program did something to the folder that is not modelled."""


class TracedDisk:
    """The folder as the disk that a traced program leaves behind."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._synced_names: dict[str, _File] = {}
        self._names: dict[str, _File] = {}
        self._namings: list[_Naming] = []
        self._ends: dict[int, int] = {}  # of files that are written one byte after the other
        self.syncs = 0

    def put(self, image: dict[str, bytes]) -> None:
        """Have this, for certain, on the disk and in the folder; nobody may have a file open."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for name in self._found():
            if name not in image:
                (self._folder / name).unlink()
        for name, content in image.items():
            (self._folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self._folder / name).write_bytes(content)
        self._synced_names = {name: _File(bytearray(image[name])) for name in image}
        self._names = dict(self._synced_names)
        self._namings = []
        self._ends = {}

    def follow(self, trace: Path) -> None:
        """Do what the program did, to its death."""
        for call, begins in _calls(trace):
            self._step(call, begins=begins)

    def check(self) -> None:
        """The real files are what was understood; a call that the death cut off is either way."""
        found = self._found()
        assert set(found) == set(self._names), set(found) ^ set(self._names)
        for name, file in self._names.items():
            real = found[name].read_bytes()
            assert real in {file.content(unfinished=one) for one in (False, True)}, name

    def unsynced(self) -> int:
        """How many writes and names the disk was told and not asked to keep."""
        return len(self._namings) + sum(len(file.changes) for file in self._names.values())

    def after_power_cut(self, chance: random.Random) -> dict[str, bytes]:
        """What it may hold when the power comes back, by name."""
        sector = chance.choice(SECTOR_BYTES)
        kept = chance.choice((0.0, 0.5, 1.0))
        names = dict(self._synced_names)
        for naming in self._namings:
            if chance.random() >= kept:
                continue
            if naming.old is not None and names.get(naming.old) is naming.file:
                del names[naming.old]
            if naming.new is not None:
                names[naming.new] = naming.file
        return {name: file.torn(sector, kept, chance) for name, file in sorted(names.items())}

    # -- the calls

    def _found(self) -> dict[str, Path]:
        return {
            str(path.relative_to(self._folder)): path
            for path in self._folder.rglob("*")
            if path.is_file() and not path.name.endswith(NOT_RECORDED)
        }

    def _step(self, call: _Call, *, begins: bool) -> None:
        names = self._inside(call.words)
        if not names or (call.result is not None and call.result < 0):
            return
        if call.name in ("fsync", "fdatasync"):
            self._sync(call, names[0], begins=begins)
            return
        if begins:
            return
        if call.name in ("open", "openat", "creat"):
            self._open(call, names[-1])
        elif call.name in ("write", "pwrite64", "ftruncate", "fallocate"):
            self._write(call, names[0])
        elif call.name.startswith(("rename", "unlink")):
            self._rename(call, names)
        elif not call.name.startswith("mkdir"):
            raise NotUnderstood(f"{call.name}({call.words[:200]})")

    def _inside(self, words: str) -> list[str]:
        """The names in the folder that a call speaks of; the folder itself is '.'."""
        found = []
        for text, of_fd, deleted in _WORD.findall(words):
            path = _text(text or of_fd).decode(errors="replace")
            if deleted or path.endswith(NOT_RECORDED):
                continue
            if path == str(self._folder):
                found.append(".")
            elif path.startswith(f"{self._folder}/"):
                found.append(path.removeprefix(f"{self._folder}/"))
        return found

    def _open(self, call: _Call, name: str) -> None:
        flags = call.words
        if name == "." or "O_DIRECTORY" in flags:
            return
        file = self._names.get(name)
        if file is None:
            if "O_CREAT" not in flags and call.name != "creat":
                return  # a folder
            file = self._names[name] = _File()
            self._namings.append(_Naming(None, name, file))
        elif "O_TRUNC" in flags or call.name == "creat":
            file.changes.append(_Change(0, None))
        if call.result is not None:
            at_end = "O_APPEND" in flags
            self._ends[call.result] = len(file.content(unfinished=True)) if at_end else 0
            if "O_RDWR" in flags:  # reads move its place unseen
                self._ends.pop(call.result)

    def _write(self, call: _Call, name: str) -> None:
        file = self._names[name]
        ended = call.result is not None
        numbers = call.words.rsplit(", ", 2)
        if call.name == "ftruncate":
            self._cut(file, int(numbers[-1]), ended=ended)
            return
        if call.name == "fallocate":
            self._cut_not(file, int(numbers[-2]) + int(numbers[-1]), ended=ended)
            return
        found = re.search(r'"((?:\\x[0-9a-f]{2})*)"', call.words)
        if found is None:
            raise NotUnderstood(call.words[:200])
        data = _text(found[1])[: call.result]
        if call.name == "pwrite64":
            offset = int(numbers[-1])
        else:
            fd = int(call.words.split("<", 1)[0])
            if fd not in self._ends:
                raise NotUnderstood(f"a write in the place where reads ended: {name}")
            offset = self._ends[fd]
            self._ends[fd] += len(data)
        file.changes.append(_Change(offset, data, ended))

    def _cut(self, file: _File, size: int, *, ended: bool) -> None:
        file.changes.append(_Change(size, None, ended))

    def _cut_not(self, file: _File, size: int, *, ended: bool) -> None:
        """Room was set aside: the file is longer where it was shorter."""
        if len(file.content(unfinished=True)) < size:
            self._cut(file, size, ended=ended)

    def _rename(self, call: _Call, names: list[str]) -> None:
        names = [name for name in names if name != "."]
        # Where it died in it, nothing says whether it was done; it was if the file is gone.
        if call.result is None and (self._folder / names[0]).exists():
            return
        old, new = names[0], names[1] if call.name.startswith("rename") else None
        file = self._names.pop(old)
        self._namings.append(_Naming(old, new, file))
        if new is not None:
            self._names[new] = file

    def _sync(self, call: _Call, name: str, *, begins: bool) -> None:
        """What had been told before it began is kept, once it has ended."""
        file = self._names.get(name)
        if begins:
            call.covers = len(self._namings) if file is None else len(file.changes)
        elif call.result is None:
            return
        elif file is not None:
            self.syncs += 1
            for change in file.changes[: call.covers]:
                _apply(file.synced, change.offset, change.data)
            del file.changes[: call.covers]
        else:
            for naming in self._namings[: call.covers]:
                if naming.old is not None:
                    self._synced_names.pop(naming.old, None)
                if naming.new is not None:
                    self._synced_names[naming.new] = naming.file
            del self._namings[: call.covers]


def _text(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))


def _calls(trace: Path) -> Iterator[tuple[_Call, bool]]:
    """Each call twice: as it begins, and as it ends; in the order of a trace of several threads."""
    under_way: dict[str, tuple[str, _Call]] = {}
    with trace.open(encoding="ascii") as lines:
        for line in lines:
            found = _LINE.match(line)
            assert found is not None, line[:200]
            thread, rest = found[1], found[2]
            if rest.startswith(("---", "+++")):
                continue
            if rest.endswith(" <unfinished ...>"):
                begun = rest.removesuffix(" <unfinished ...>")
                call = _Call(*begun.split("(", 1))
                under_way[thread] = begun, call
                yield call, True
                continue
            resumed: _Call | None = None
            if rest.startswith("<... "):
                begun, resumed = under_way.pop(thread)
                rest = begun + rest.split(" resumed>", 1)[1]
            ended = _CALL.match(rest)
            assert ended is not None, rest[:200]
            call = resumed or _Call(ended[1], ended[2])
            if resumed is None:
                yield call, True
            call.words = ended[2]
            call.result = None if ended[3] == "?" else int(ended[3])
            yield call, False
    for _, last in under_way.values():
        yield last, False
