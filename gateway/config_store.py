"""The station files that came from the collector, on disk: in force, on trial, the last good one.

Owns four files in one folder and the order in which they change; each is replaced whole and is
durable before the next is touched, so that a power cut at any point leaves a file that works. It
must not know what a station file says, nor judge one.

`candidate`   accepted, not in force yet
`active`      in force; on trial while it is not that of `last-good`
`last-good`   the last under which the collector acknowledged a batch
`state`       the highest version ever accepted, the trial, the last refusal
"""

import hashlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog

from contract.limits import TEXT_CHARS_MAX
from contract.messages import ConfigRefusal, ConfigStatus

CANDIDATE, ACTIVE, LAST_GOOD, STATE = "candidate", "active", "last-good", "state"

# How often a station file on trial may be begun without having been confirmed: a power cut or two
# are not its fault, a program that dies under it each time is.
TRIAL_STARTS_MAX = 3

# How long a trial lasts of which no file says it any more.
CONFIRM_WITHIN_S = 900.0

FILE_BYTES_MAX = 2 * 1024 * 1024
LOCAL = 0  # the version of the file that lies on the gateway

NOT_CONFIRMED = "not_confirmed"
DAMAGED = "damaged"
LOCAL_FILE = "local_file"

_Struct = TypeVar("_Struct", bound=msgspec.Struct)

log = structlog.get_logger("gateway.config")


class Held(msgspec.Struct, frozen=True):
    """A station file and its version."""

    version: int
    text: str


class Trial(msgspec.Struct, frozen=True):
    """What a station file on trial must do: within so long, with these lines answering."""

    version: int
    confirm_within_s: float
    lines: tuple[str, ...] = ()
    starts: int = 0


class _State(msgspec.Struct, frozen=True):
    """`base` is the SHA-256 of the local file at the time when the first version took its place.

    `taken_back` is the version that was last rolled back, whatever was refused since.
    """

    highest: int = 0
    base: str = ""
    trial: Trial | None = None
    taken_back: int = 0
    refused: ConfigRefusal | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """The station file to run: None is the local one. `trial` says that it must prove itself."""

    held: Held | None
    trial: Trial | None = None


class ConfigStore:
    """The files in `folder`, which one process at a time uses. Its methods raise OSError.

    They may be called from several threads: a trial may end while another file is accepted.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._changing = threading.Lock()
        self._state = _State()
        self._state_lost = False
        self._active: Held | None = None
        self._last_good: Held | None = None
        self._status = ConfigStatus()

    @property
    def status(self) -> ConfigStatus:
        """What a status says of them: as they were after the last change that was completed."""
        return self._status

    @property
    def highest(self) -> int:
        """The highest version ever accepted."""
        return self._state.highest

    @property
    def active(self) -> Held | None:
        """The one from the collector that is in force, confirmed or on trial; None if none is."""
        return self._active

    @property
    def last_good(self) -> Held | None:
        """The last good one; version LOCAL is a copy of the local file, None means no other was."""
        return self._last_good

    def is_changed(self, local: str) -> bool:
        """Whether the local station file is another than when a version took its place."""
        return bool(self._state.base) and digest_of(local) != self._state.base

    @property
    def _on_trial(self) -> bool:
        good = LOCAL if self._last_good is None else self._last_good.version
        return self._active is not None and self._active.version != good

    def look(self) -> ConfigStatus:
        """The status as the files are now, which may be another process's; changes nothing."""
        if self._folder.is_dir():
            self._load()
            self._note()
        return self._status

    def begin(self, local: str | None) -> Choice:
        """At a start: carry on with what was cut off, and choose.

        `local` is the text of the local station file, None if that cannot be used. If somebody
        changed it since a version took its place, it goes before all of them.
        """
        with self._changing:
            choice = self._begin(local)
            self._note()
            return choice

    def _begin(self, local: str | None) -> Choice:
        self._load()
        self._complete()
        if self._active is None and self._last_good is None:
            return Choice(None)
        # Where the state was lost nobody can say.
        if local is not None and self.is_changed(local):
            self._prefer_local(local)
            return Choice(None)
        # Not before: where a change of the local file was cut off, nothing is damaged.
        self._heal()
        if not self._on_trial:
            return self._settled(local)
        assert self._active is not None
        trial = self._state.trial or Trial(self._active.version, CONFIRM_WITHIN_S)
        if trial.starts >= TRIAL_STARTS_MAX:
            self._roll_back(NOT_CONFIRMED, f"begun {trial.starts} times and never confirmed")
            return self._settled(local)
        trial = msgspec.structs.replace(trial, starts=trial.starts + 1)
        self._write_state(msgspec.structs.replace(self._state, trial=trial))
        return Choice(self._active, trial)

    def accept(self, held: Held, trial: Trial, local: str) -> None:
        """Put a checked station file in force, on trial, in place of whatever is."""
        with self._changing:
            if self._last_good is None:
                self._write(LAST_GOOD, Held(LOCAL, local))
            base = digest_of(local) if self._active is None else self._state.base
            self._write(CANDIDATE, held)
            # From here on this version is spent: after a crash it is carried on with or taken back.
            self._write_state(_State(held.version, base, trial))
            self._promote()
            self._load()
            self._note()

    def confirm(self, version: int) -> bool:
        """The station file on trial works: it is the last good one now.

        False, and nothing is done, if `version` is not on trial any more: another took its place.
        """
        with self._changing:
            if not self._is_tried(version):
                return False
            assert self._active is not None
            self._write(LAST_GOOD, self._active)
            self._last_good = self._active
            self._write_state(msgspec.structs.replace(self._state, trial=None))
            self._note()
            return True

    def roll_back(self, version: int, code: str, text: str) -> bool:
        """The station file on trial does not work: go back to the last good one.

        False, and nothing is done, if `version` is not on trial any more: another took its place.
        """
        with self._changing:
            if not self._is_tried(version):
                return False
            self._roll_back(code, text)
            self._note()
            return True

    def _is_tried(self, version: int) -> bool:
        return self._on_trial and self._active is not None and self._active.version == version

    def _roll_back(self, code: str, text: str) -> None:
        assert self._active is not None
        version = self._active.version
        refused = ConfigRefusal(version, code, text[:TEXT_CHARS_MAX])
        self._write_state(
            msgspec.structs.replace(self._state, trial=None, taken_back=version, refused=refused)
        )
        self._restore()

    def refuse(self, version: int, code: str, text: str) -> bool:
        """Note that a version was not taken; False if that was known already."""
        refused = ConfigRefusal(version, code, text[:TEXT_CHARS_MAX])
        with self._changing:
            if refused == self._state.refused:
                return False
            self._write_state(msgspec.structs.replace(self._state, refused=refused))
            self._note()
            return True

    # -- steps

    def _note(self) -> None:
        self._status = ConfigStatus(
            version=LOCAL if self._active is None else self._active.version,
            trial=self._on_trial,
            highest=self._state.highest,
            refused=self._state.refused,
        )

    def _complete(self) -> None:
        """Finish or undo what a crash cut off."""
        candidate, state = self._read(CANDIDATE), self._state
        if candidate is not None:
            if candidate.version == state.highest and candidate.version != state.taken_back:
                self._promote()
                self._active = candidate
            else:
                self._remove(CANDIDATE)
        if self._on_trial and self._active and self._active.version == state.taken_back:
            self._restore()

    def _heal(self) -> None:
        """Put what the other files still say in the place of one that was damaged."""
        state, good = self._state, self._last_good
        in_force = None if self._active is None else self._active.version
        try:
            if state.trial is not None and state.trial.version != in_force:
                text = "its file on the gateway was damaged while it was on trial"
                refused = ConfigRefusal(state.trial.version, DAMAGED, text)
                self._write_state(msgspec.structs.replace(state, trial=None, refused=refused))
            if self._active is None and good is not None and good.version != LOCAL:
                # No step leaves it away but that for the local file, which removes both.
                self._active = good
                self._write(ACTIVE, good)
            elif self._active is not None and good is None and self._was_confirmed(state):
                self._last_good = self._active
                self._write(LAST_GOOD, self._active)
        except OSError as error:
            log.error("a damaged file cannot be replaced", error=str(error))  # noqa: TRY400 no trace

    def _was_confirmed(self, state: _State) -> bool:
        """Whether the one in force was: it was accepted, and is not on trial nor taken back."""
        return not self._state_lost and state.trial is None

    def _settled(self, local: str | None) -> Choice:
        if self._active is not None:
            return Choice(self._active)
        # The local file is the last good one; its copy is for when it was damaged since.
        return Choice(None if local is not None else self._last_good)

    def _prefer_local(self, local: str) -> None:
        version = LOCAL if self._active is None else self._active.version
        self._remove(ACTIVE)
        self._remove(LAST_GOOD)
        self._active = self._last_good = None
        text = "the station file on the gateway was changed and goes before it"
        refused = ConfigRefusal(version, LOCAL_FILE, text) if version else self._state.refused
        self._write_state(_State(self._state.highest, digest_of(local), refused=refused))

    def _restore(self) -> None:
        good = self._last_good
        if good is None or good.version == LOCAL:
            self._remove(ACTIVE)
            self._active = None
        else:
            self._write(ACTIVE, good)
            self._active = good

    def _promote(self) -> None:
        os.replace(self._folder / CANDIDATE, self._folder / ACTIVE)
        self._sync_folder()

    # -- files

    def _load(self) -> None:
        self._active, self._last_good = self._read(ACTIVE), self._read(LAST_GOOD)
        state = _read_sealed(self._folder / STATE, _State)
        self._state_lost = state is None
        if state is None:
            # Without it no version that was ever seen may come again.
            known = [h.version for h in (self._active, self._last_good) if h is not None]
            state = _State(highest=max(known, default=0))
        self._state = state

    def _read(self, name: str) -> Held | None:
        return _read_sealed(self._folder / name, Held)

    def _write_state(self, state: _State) -> None:
        self._write(STATE, state)
        self._state = state

    def _write(self, name: str, value: msgspec.Struct) -> None:
        """Durable and whole, or not at all."""
        self._folder.mkdir(parents=True, exist_ok=True)
        body = msgspec.json.encode(value)
        path = self._folder / (name + ".new")
        with path.open("wb") as file:
            file.write(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
            file.flush()
            os.fsync(file.fileno())
        os.replace(path, self._folder / name)
        self._sync_folder()

    def _remove(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)
        self._sync_folder()

    def _sync_folder(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def digest_of(text: str) -> str:
    """What a station file is known by: SHA-256, in hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def _read_sealed(path: Path, kind: type[_Struct]) -> _Struct | None:
    """What is in a file; None where there is none, or its hash shows that it is damaged."""
    try:
        with path.open("rb") as file:
            digest, _, body = file.read(FILE_BYTES_MAX).partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode() == digest:
            return msgspec.json.decode(body, type=kind)
        problem = "its hash is not that of its content"
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, OSError) as error:
        problem = str(error)
    log.error("a file of the configuration cannot be used", file=str(path), problem=problem)
    return None
