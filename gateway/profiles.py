"""Where meter profiles are found: folders of the station's own, then those that came along.

Reads the files; what is in them is `gateway.meters.profile`'s business.
"""

from collections.abc import Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from gateway.meters.profile import MeterProfile
from gateway.meters.profile_file import ProfileError, parse_profile
from gateway.meters.readout_profile import AnyProfile

SUFFIX = ".yaml"
PROFILE_BYTES_MAX = 256 * 1024


class UnknownProfileError(LookupError):
    """No folder has a meter profile of this name; `known` lists those that there are."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"no meter profile {name!r}; there are: {', '.join(known)}")
        self.name = name
        self.known = tuple(known)


def built_in() -> Traversable:
    """The folder of the meter profiles that are part of the product."""
    return files("firmware_config") / "meters"


class ProfileLibrary:
    """Meter profiles by name: from `folders` in their order, then from the built-in folder."""

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self._folders: tuple[Traversable, ...] = (*folders, built_in())
        self._loaded: dict[str, AnyProfile] = {}

    def names(self) -> list[str]:
        """The names of all profiles, sorted."""
        return sorted(
            {
                entry.name.removesuffix(SUFFIX)
                for folder in self._folders
                if folder.is_dir()
                for entry in folder.iterdir()
                if entry.name.endswith(SUFFIX) and "." not in entry.name.removesuffix(SUFFIX)
            }
        )

    def modbus_names(self) -> list[str]:
        """The names of the profiles of Modbus meters, sorted. Raises ProfileError."""
        return [name for name in self.names() if isinstance(self.get(name), MeterProfile)]

    def get_modbus(self, name: str) -> MeterProfile:
        """What `get` gives, for a Modbus meter. Raises ProfileError also for any other."""
        profile = self.get(name)
        if not isinstance(profile, MeterProfile):
            reason = f"is of meters that speak {profile.protocol}, not Modbus"
            raise ProfileError(name, 1, "$.protocol", reason)
        return profile

    def get(self, name: str) -> AnyProfile:
        """The profile called `name`; the same object each time.

        Raises UnknownProfileError where there is none, ProfileError where its file is wrong.
        """
        if (profile := self._loaded.get(name)) is not None:
            return profile
        known = self.names()
        if name not in known:
            raise UnknownProfileError(name, known)
        file = next(
            file for folder in self._folders if (file := folder / f"{name}{SUFFIX}").is_file()
        )
        profile = _read(file, str(file))
        if profile.profile != name:
            reason = f"is {profile.profile!r}, the file is called {name}{SUFFIX}"
            raise ProfileError(str(file), 1, "$.profile", reason)
        self._loaded[name] = profile
        return profile


def profile_from_file(path: Path) -> AnyProfile:
    """The profile in one file, whatever its name. Raises ProfileError, also if it is unreadable."""
    return _read(path, str(path))


def _read(file: Traversable, where: str) -> AnyProfile:
    try:
        with file.open("rb") as stream:
            content = stream.read(PROFILE_BYTES_MAX + 1)
        if len(content) > PROFILE_BYTES_MAX:
            raise ProfileError(where, 1, "$", f"larger than {PROFILE_BYTES_MAX} bytes")
        return parse_profile(content.decode("utf-8"), where)
    except OSError as error:
        raise ProfileError(where, 1, "$", f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ProfileError(where, 1, "$", f"not UTF-8 text: {error.reason}") from error
