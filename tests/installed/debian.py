"""A fresh Debian in a folder, and udev's and systemd's views of it; for root on Debian only.

Made from the machine's own mirror by debootstrap, in memory, and gone after the tests.
"""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.services.process import find_program

RELEASE = "bookworm"
DISK = "size=2g"
BOOTSTRAP_S = 300
COMMAND_S = 180
# In a chroot nothing may be started: policy-rc.d tells invoke-rc.d.
NO_SERVICES = "#!/bin/sh\nexit 101\n"


def is_debian() -> bool:
    """Whether apt can say where Debian's packages are."""
    return Path("/etc/debian_version").exists() and os.geteuid() == 0


def mirror() -> str:
    """The address from which this machine has its Debian packages."""
    form = "$(ORIGIN) $(COMPONENT) $(REPO_URI)"
    command = ["apt-get", "indextargets", "--format", form, "Created-By: Packages"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    addresses = [line.split()[2] for line in told.splitlines() if line.startswith("Debian main ")]
    plain = [address for address in addresses if "security" not in address]
    assert plain, f"apt knows no Debian mirror:\n{told}"
    return plain[0]


class Debian:
    """The folder of an installed Debian."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, *command: str, code: int = 0, **variables: str) -> str:
        """Run a program inside; its output, after `code` was its exit code."""
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "DEBIAN_FRONTEND": "noninteractive",
            "LC_ALL": "C.UTF-8",
            **variables,
        }
        done = subprocess.run(
            ["chroot", str(self.root), *command],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_S,
            env=environment,
        )
        assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def apt(self, *arguments: str) -> str:
        """apt-get, without questions and without what is only recommended."""
        return self.run("apt-get", "-q", "-y", "--no-install-recommends", *arguments)

    def named(self, word: str) -> list[str]:
        """Every path below the root with `word` in its name; /srv and /proc are the test's."""
        outside = {self.root / "srv", self.root / "proc"}
        found = []
        for folder, folders, files in os.walk(self.root):
            folders[:] = [name for name in folders if Path(folder, name) not in outside]
            found += [str(Path(folder, name)) for name in (*folders, *files) if word in name]
        return [path.removeprefix(str(self.root)) for path in sorted(found)]

    def users(self) -> set[str]:
        """The names in /etc/passwd."""
        lines = (self.root / "etc/passwd").read_text().splitlines()
        return {line.split(":")[0] for line in lines}


@contextmanager
def fresh_debian(folder: Path) -> Iterator[Debian]:
    """The smallest Debian there is, in a file system of its own at `folder`."""
    folder.mkdir()
    _call("mount", "-t", "tmpfs", "-o", DISK, "songlo-test", str(folder))
    try:
        debootstrap = find_program("debootstrap", "debootstrap")
        command = [debootstrap, "--variant=minbase", RELEASE, str(folder), mirror()]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=BOOTSTRAP_S
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
        policy = folder / "usr/sbin/policy-rc.d"
        policy.write_text(NO_SERVICES)
        policy.chmod(0o755)
        _call("mount", "-t", "proc", "proc", str(folder / "proc"))
        yield Debian(folder)
    finally:
        # Lazily: a process of a failed test may still be in it, and its failure is the one to see.
        subprocess.run(["umount", "-l", folder / "proc"], check=False, capture_output=True)
        _call("umount", "-l", str(folder))


def _call(*command: str) -> None:
    subprocess.run(command, check=True, timeout=COMMAND_S)


# -- a machine of sysfs, for udev's rules

FTDI = {"idVendor": "0403", "idProduct": "6011", "devpath": "1.2", "serial": "A1"}


def _device(
    sys: Path, path: str, subsystem: str, driver: str, uevent: str, attributes: dict[str, str]
) -> None:
    home = sys / path
    home.mkdir(parents=True)
    (home / "uevent").write_text(uevent)
    for name, value in attributes.items():
        (home / name).write_text(value + "\n")
    for link, target in (("subsystem", subsystem), ("driver", f"{subsystem}/drivers/{driver}")):
        if link == "driver" and not driver:
            continue
        (sys / target).mkdir(parents=True, exist_ok=True)
        (home / link).symlink_to(os.path.relpath(sys / target, home))


def plug_in(sys: Path, interface: str) -> str:
    """An FTDI adapter in socket 1.2 of bus 1, as /sys shows it; the path of its serial port."""
    path = "devices/platform/xhci-hcd.0"
    parts: Sequence[tuple[str, str, str, str, dict[str, str]]] = (
        ("usb1", "bus/usb", "usb", "DEVTYPE=usb_device\n", {"devpath": "0", "busnum": "1"}),
        ("1-1", "bus/usb", "usb", "DEVTYPE=usb_device\n", {"devpath": "1"}),
        ("1-1.2", "bus/usb", "usb", "DEVTYPE=usb_device\n", FTDI),
        (
            f"1-1.2:1.{int(interface)}",
            "bus/usb",
            "ftdi_sio",
            "DEVTYPE=usb_interface\n",
            {"bInterfaceNumber": interface, "bInterfaceClass": "ff"},
        ),
        ("ttyUSB3", "bus/usb-serial", "ftdi_sio", "", {"latency_timer": "16"}),
    )
    _device(sys, path, "bus/platform", "xhci-hcd", "", {})
    for name, subsystem, driver, uevent, attributes in parts:
        path = f"{path}/{name}"
        _device(sys, path, subsystem, driver, uevent, attributes)
    uevent = "MAJOR=188\nMINOR=3\nDEVNAME=ttyUSB3\n"
    _device(sys, f"{path}/tty/ttyUSB3", "class/tty", "", uevent, {})
    return f"/{path}"


def pins(sys: Path) -> str:
    """The serial port on a Raspberry Pi's pins; its path."""
    path = "devices/platform/soc/fe201000.serial"
    _device(sys, path, "bus/amba", "uart-pl011", "", {})
    uevent = "MAJOR=204\nMINOR=64\nDEVNAME=ttyAMA0\n"
    _device(sys, f"{path}/tty/ttyAMA0", "class/tty", "", uevent, {})
    return f"/{path}/tty/ttyAMA0"
