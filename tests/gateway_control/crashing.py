"""Kills the store of station files before each of its effects on the disk, and twice in a row.

Run as a program with a folder and the name of a scenario: it forks a child for each effect, which
SIGKILL ends just before that; then the store is begun anew. Prints one JSON object a case.
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import structlog

from gateway.config_store import ConfigStore, Held, Trial

LOCAL, CHANGED = "station: local\n", "station: changed\n"
EFFECTS = {"open", "os.rename", "os.remove", "os.mkdir"}


def text(version: int) -> str:
    return f"station: version-{version}\n" + "# filler\n" * 50


def accept(store: ConfigStore, version: int) -> None:
    store.accept(Held(version, text(version)), Trial(version, 900.0, ("l1",)), LOCAL)


def first(store: ConfigStore) -> None:
    store.begin(LOCAL)
    accept(store, 1)


def one_good(store: ConfigStore) -> None:
    first(store)
    store.begin(LOCAL)
    assert store.confirm(1)


def two(store: ConfigStore) -> None:
    one_good(store)
    accept(store, 2)


def nothing(_: ConfigStore) -> None:
    return


def accepting(version: int) -> Callable[[ConfigStore], None]:
    def work(store: ConfigStore) -> None:
        store.begin(LOCAL)
        accept(store, version)

    return work


def confirming(store: ConfigStore) -> None:
    store.begin(LOCAL)
    store.confirm(2)


def going_back(store: ConfigStore) -> None:
    store.begin(LOCAL)
    for version in (1, 2):
        store.roll_back(version, "x", "y")


def refusing(store: ConfigStore) -> None:
    store.begin(LOCAL)
    store.refuse(9, "x", "y")


def beginning(store: ConfigStore) -> None:
    store.begin(LOCAL)


def preferring(store: ConfigStore) -> None:
    store.begin(CHANGED)


Work = Callable[[ConfigStore], None]
# What is done without interruption, then what is killed, then the versions that may be in force:
# one on trial is also taken back when it was begun too often.
SCENARIOS: dict[str, tuple[Work, Work, set[int]]] = {
    "accept the first": (nothing, accepting(1), {0, 1}),
    "accept a second": (one_good, accepting(2), {1, 2}),
    "begin a trial": (two, beginning, {1, 2}),
    "confirm": (two, confirming, {1, 2}),
    "go back to a version": (two, going_back, {1, 2}),
    "go back to the local file": (first, going_back, {0, 1}),
    "refuse": (one_good, refusing, {1}),
    "prefer the local file": (two, preferring, {0, 2}),
    "accept over one on trial": (two, accepting(3), {1, 2, 3}),
}


def killed_before(effect: int, work: Callable[[], object]) -> bool:
    """Do `work` in a child that is killed before its n-th effect; False if it came to its end."""
    child = os.fork()
    if child == 0:
        left = effect

        def count(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal left
            if event == "open":
                mode, flags = arguments[1], arguments[2]
                if not (isinstance(mode, str) and "w" in mode) and not (
                    isinstance(flags, int) and flags & os.O_CREAT
                ):
                    return
            if event in EFFECTS or event == "fsync":
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sync = os.fsync

        def fsync(file: int) -> None:
            count("fsync", ())
            sync(file)

        os.fsync = fsync  # type: ignore[assignment]  # it is given numbers only
        sys.addaudithook(count)
        work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def version_of(folder: Path, local: str) -> tuple[int, int, bool]:
    """The version in force after a start, the highest, and whether its text is whole."""
    store = ConfigStore(folder)
    choice = store.begin(local)
    if choice.held is None:
        return 0, store.highest, True
    version = choice.held.version
    return version, store.highest, choice.held.text == text(version)


def main() -> None:
    base, name = Path(sys.argv[1]), sys.argv[2]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    before, action, allowed = SCENARIOS[name]
    prepared = base / "prepared"
    before(ConfigStore(prepared))
    prepared.mkdir(exist_ok=True)
    local = CHANGED if name == "prefer the local file" else LOCAL
    effect = 0
    more = True
    while more:
        effect += 1
        folder = base / str(effect)
        shutil.copytree(prepared, folder)
        more = killed_before(effect, lambda folder=folder: action(ConfigStore(folder)))  # type: ignore[misc]  # bound now
        again, again_more = 0, True
        while again_more:
            again += 1
            second = base / f"{effect}-{again}"
            shutil.copytree(folder, second)
            again_more = killed_before(
                again,
                lambda second=second: ConfigStore(second).begin(local),  # type: ignore[misc]  # bound now
            )
            for _ in range(2):
                version, highest, whole = version_of(second, local)
                case = {
                    "effect": effect, "again": again, "version": version, "highest": highest,
                    "whole": whole, "allowed": version in allowed,
                }  # fmt: skip
                sys.stdout.write(json.dumps(case) + "\n")
            shutil.rmtree(second)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
