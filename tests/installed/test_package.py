"""The gateway's Debian package: what is in it, and its life in a fresh Debian."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.installed.debian import Debian, fresh_debian, is_debian, pins, plug_in
from tests.services.process import find_program, free_port

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "firmware_config"
ELF_MACHINES = {"amd64": 62, "arm64": 183}  # e_machine of x86-64 and AArch64
SCRIPTS = ("preinst", "postinst", "prerm", "postrm")

pytestmark = pytest.mark.timeout(300)


def make(folder: Path, *options: str) -> list[Path]:
    """`make deb` with these options."""
    command = [sys.executable, str(ROOT / "scripts/make-deb"), *options]
    command += ["--out", str(folder / "dist")]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=280, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [Path(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    find_program("dpkg-deb", "dpkg")
    folder = tmp_path_factory.mktemp("packages")
    made = make(folder, "--wheels", str(folder / "wheels"))
    return dict(zip(ELF_MACHINES, made, strict=True))


@pytest.fixture(scope="module")
def trees(packages: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The packages, unpacked with their control files."""
    found = {}
    for architecture, package in packages.items():
        found[architecture] = tmp_path_factory.mktemp(architecture) / "tree"
        command = ["dpkg-deb", "--raw-extract", str(package), str(found[architecture])]
        subprocess.run(command, check=True, timeout=60)
    return found


# -- what is in it


@pytest.mark.parametrize("architecture", ELF_MACHINES)
def test_compiled_modules_are_for_its_architecture_and_for_both_pythons(
    trees: dict[str, Path], architecture: str
) -> None:
    found = list(trees[architecture].rglob("*.so*"))
    for name in ("msgspec/_core", "yaml/_yaml"):
        versions = {
            re.findall(r"cpython-(\d+)", str(path))[0] for path in found if name in str(path)
        }
        assert versions == {"311", "313"}, name
    for path in found:
        head = path.read_bytes()[:20]
        assert head[:4] == b"\x7fELF"
        assert int.from_bytes(head[18:20], "little") == ELF_MACHINES[architecture], path


def test_it_depends_on_the_pythons_that_it_has_modules_for(trees: dict[str, Path]) -> None:
    text = (trees["arm64"] / "DEBIAN/control").read_text()
    (depends,) = re.findall(r"^Depends: (.*)$", text, re.MULTILINE)
    assert depends.startswith(
        "python3 (>= 3.11), python3 (<< 3.14), python3 (<< 3.12) | python3 (>= 3.13)"
    )
    assert "Architecture: arm64\n" in text


def test_nothing_in_it_tells_of_where_it_was_made(trees: dict[str, Path]) -> None:
    tree = trees["amd64"]
    pip_leaves = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "pip.conf"}
    assert [path for path in tree.rglob("*") if path.name in pip_leaves] == []
    assert list(tree.rglob("__pycache__")) == []
    ours = [tree / "DEBIAN", tree / "usr", *(tree / "opt/songlo/lib").glob("*.dist-info")]
    ours += [tree / "opt/songlo/lib" / name for name in ("gateway", "contract", "songlo")]
    hosts = re.compile(rb"pypi\.org|pythonhosted|index-url|" + re.escape(str(ROOT).encode()))
    for path in (path for folder in ours for path in folder.rglob("*") if path.is_file()):
        assert hosts.findall(path.read_bytes()) == [], path


def test_every_work_of_others_comes_with_its_licence(trees: dict[str, Path]) -> None:
    tree = trees["amd64"]
    listed = (tree / "usr/share/doc/songlo-gateway/copyright").read_text()
    works = list((tree / "opt/songlo/lib").glob("*.dist-info"))
    assert len(works) > 10
    for work in works:
        if work.name.startswith("songlo-"):
            continue
        assert work.name.removesuffix(".dist-info") in listed
        assert [p for p in work.rglob("*") if p.name.upper().startswith(("LICEN", "COPYING"))], work


def test_it_brings_no_other_program_and_no_conffile(trees: dict[str, Path]) -> None:
    library = trees["amd64"] / "opt/songlo/lib"
    for name in ("collector", "simulator", "dashboards", "songlo/demo", "sqlalchemy", "numpy"):
        assert not (library / name).exists(), name
    assert not (trees["amd64"] / "etc").exists()
    assert not (trees["amd64"] / "DEBIAN/conffiles").exists()


def test_the_same_tree_gives_the_same_bytes(
    packages: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Ho_Chi_Minh")
    before = os.umask(0o077)
    try:
        wheels = str(packages["amd64"].parents[1] / "wheels")
        (again,) = make(tmp_path, "--architecture=amd64", "--offline", "--wheels", wheels)
    finally:
        os.umask(before)
    assert again.name == packages["amd64"].name
    assert again.read_bytes() == packages["amd64"].read_bytes()


def test_shell_scripts_are_in_order() -> None:
    shellcheck = find_program("shellcheck", "shellcheck")
    scripts = [str(CONFIG / "deb" / name) for name in SCRIPTS]
    done = subprocess.run([shellcheck, *scripts], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


# -- in a fresh Debian


@pytest.fixture(scope="module")
def debian(packages: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    """A Debian 12 into which the package and chrony were installed by apt."""
    if not is_debian():
        pytest.skip("debootstrap needs root on Debian; `make test` as root there runs this")
    architecture = subprocess.run(
        ["dpkg", "--print-architecture"], check=True, capture_output=True, text=True
    ).stdout.strip()
    if architecture not in packages:
        pytest.skip(f"no package is made for {architecture}")
    with fresh_debian(tmp_path_factory.mktemp("debian") / "root") as fresh:
        shutil.copy(packages[architecture], fresh.root / "srv/gateway.deb")
        fresh.apt("update")
        fresh.apt("install", "/srv/gateway.deb", "chrony")
        yield fresh


def test_the_example_is_checked_by_the_installed_program(debian: Debian) -> None:
    said = debian.run(
        *("runuser", "-u", "songlo-gateway", "--", "songlo", "gateway", "check", "--config"),
        "/usr/share/doc/songlo-gateway/examples/station.yaml",
    )
    assert "is in order" in said
    assert "landis-gyr-zmd" in said


def test_its_modules_are_its_own_and_compiled(debian: Debian) -> None:
    assert debian.run("python3", "-c", "import sys; print(sys.version_info[:2])") == "(3, 11)\n"
    compiled = list((debian.root / "opt/songlo/lib/gateway").rglob("app.cpython-311.pyc"))
    assert len(compiled) == 1
    stranger = debian.root / "usr/lib/python3/dist-packages/structlog.py"
    stranger.write_text("raise ImportError('not the one that came along')\n")
    try:
        debian.run("songlo", "gateway", "run", "--config", "/nowhere.yaml", code=1)
    finally:
        stranger.unlink()


def test_the_installed_gateway_runs_and_ends_in_order(debian: Debian) -> None:
    data = debian.root / "srv/data"
    data.mkdir()
    port = free_port()
    (debian.root / "srv/station.yaml").write_text(
        "station: T1\ndata: data\n"
        f"broker: {{host: 127.0.0.1, port: {port}}}\n"
        "lines:\n  - name: bridge-1\n"
        f"    modbus_tcp: {{host: 127.0.0.1, port: {port}}}\n"
        '    meters: [{serial: "1", address: 1, profile: eastron-sdm630}]\n'
        "  - name: rs485-1\n"
        "    iec62056_21: {device: /dev/none, baud: 300, baud_max: 9600}\n"
        '    meters: [{serial: "2", address: "2", profile: landis-gyr-zmd}]\n'
    )
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        manager.bind(str(debian.root / "srv/notify"))
        manager.settimeout(60)
        chroot = find_program("chroot", "coreutils")
        command = [chroot, str(debian.root), "songlo", "gateway", "run", "--config"]
        with (debian.root / "srv/log").open("w") as log:
            process = subprocess.Popen(
                [*command, "/srv/station.yaml"],
                stderr=log,
                env={"PATH": "/usr/bin", "NOTIFY_SOCKET": "/srv/notify"},
            )
        try:
            assert manager.recv(4096).startswith(b"READY=1")
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0, (debian.root / "srv/log").read_text()
        finally:
            process.kill()
    assert (data / "outbox.sqlite3").exists()


def test_systemd_takes_the_unit_as_it_was_installed(debian: Debian) -> None:
    assert "songlo" not in debian.run(
        "systemd-analyze", "verify", "--man=no", "songlo-gateway.service"
    )
    debian.run(
        *("systemd-analyze", "security", "--offline=yes", "--threshold=20", "--no-pager"),
        "songlo-gateway.service",
    )
    assert "songlo-gateway" in debian.users()
    assert "songlo-gateway" in debian.run("getent", "group", "dialout")
    state = debian.run("systemctl", "is-enabled", "songlo-gateway", code=1)
    assert state.strip() == "disabled", "what has no station file is not started"


def test_chrony_takes_the_clock_configuration(debian: Debian) -> None:
    example = debian.root / "usr/share/doc/songlo-gateway/examples/chrony.conf"
    installed = debian.root / "etc/chrony/conf.d/songlo.conf"
    shutil.copy(example, installed)
    lines = debian.run("chronyd", "-p", "-f", "/etc/chrony/chrony.conf").splitlines()
    installed.unlink()
    assert {"rtcsync", "port 0", "cmdport 0"} <= set(lines)
    assert {line for line in lines if line.startswith("makestep")} == {"makestep 1 3"}


@pytest.mark.parametrize(
    ("interface", "name"), [("00", "songlo/rs485-1-1.2"), ("01", "songlo/rs485-1-1.2-if01")]
)
def test_udev_names_a_port_by_its_socket_and_makes_ftdi_quick(
    debian: Debian, interface: str, name: str
) -> None:
    sys_folder = debian.root / "sys"
    shutil.rmtree(sys_folder)
    sys_folder.mkdir()
    port, on_pins = plug_in(sys_folder, interface), pins(sys_folder)

    def told(path: str) -> str:
        command = ("udevadm", "test", "--action=add", path)
        return debian.run(*command, SYSTEMD_DEVICE_VERIFY_SYSFS="0")

    said = told(f"{port}/tty/ttyUSB3")
    assert re.search(rf"70-songlo\.rules:\d+ LINK '{re.escape(name)}'$", said, re.MULTILINE)
    assert re.search(rf"^DEVLINKS=.*/dev/{re.escape(name)}( |$)", said, re.MULTILINE)
    assert not re.search(r"70-songlo\.rules:\d+ [^:]*[Ii]nvalid", said)
    assert re.search(r"latency_timer' writing '1'", told(port))
    assert "LINK 'songlo/rs485-pins'" in told(on_pins)
    for left in ("dev/songlo", "run/udev"):
        shutil.rmtree(debian.root / left)


def test_it_refuses_to_be_unpacked_over_an_environment_made_by_hand(debian: Debian) -> None:
    mark = debian.root / "opt/songlo/pyvenv.cfg"
    mark.touch()
    said = debian.run("dpkg", "--install", "/srv/gateway.deb", code=1)
    assert "made by hand" in said
    mark.unlink()
    debian.run("dpkg", "--install", "/srv/gateway.deb")


def test_removed_and_purged_it_leaves_only_what_a_person_may_need(debian: Debian) -> None:
    station = debian.root / "etc/songlo/station.yaml"
    station.write_text("station: T1\n")
    outbox = debian.root / "var/lib/songlo-gateway/outbox.sqlite3"
    outbox.parent.mkdir()
    outbox.write_text("reads that no collector has")
    debian.run("systemctl", "enable", "songlo-gateway")
    debian.apt("remove", "songlo-gateway")
    assert (debian.root / "opt").is_dir()
    left = [path for path in debian.named("songlo") if not path.startswith("/var/lib/dpkg/")]
    assert left == ["/etc/songlo", "/var/lib/songlo-gateway"]
    assert "songlo-gateway" in debian.users()

    said = debian.apt("purge", "songlo-gateway")
    assert "rm -r /var/lib/songlo-gateway" in said
    assert outbox.exists()
    assert station.exists()

    debian.apt("install", "/srv/gateway.deb")
    station.unlink()
    shutil.rmtree(outbox.parent)
    debian.apt("purge", "songlo-gateway")
    assert debian.named("songlo") == []
    assert "songlo-gateway" not in debian.users()
