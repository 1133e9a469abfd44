"""The image's recipe: partitions made by genimage from its own files, and what is on them."""

import configparser
import os
import re
import shlex
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.services.process import find_program

ROOT = Path(__file__).resolve().parents[2]
IMAGE = ROOT / "firmware_config" / "image"
MIB = 1024 * 1024
SIZES = {"boot": 16, "root": 32, "data": 24}
KEPT = ("etc/songlo", "var/lib/songlo-gateway", "var/lib/chrony", "etc/ssh")
# As rpi-image-gen's templates have it.
CMDLINE = "console=serial0,115200 console=tty1 root=ROOTDEV fsck.repair=yes rootwait\n"


def metadata(path: Path) -> dict[str, str]:
    """The fields of a layer's head."""
    (head,) = re.findall(r"# METABEGIN\n(.*?)# METAEND", path.read_text(), re.DOTALL)
    lines = [line.removeprefix("#").removeprefix(" ") for line in head.splitlines()]
    fields: dict[str, str] = {}
    last = ""
    for line in lines:
        if line.startswith(" ") and last:
            fields[last] += line
        elif line:
            last, _, value = line.partition(":")
            fields[last] = value.strip()
    return fields


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the image and its partitions, made from a root of a few files."""
    folder = tmp_path_factory.mktemp("image")
    root, inputs, config = folder / "root", folder / "input", folder / "config"
    for path in ("etc/ssh", "etc/songlo", "boot/firmware", "var/lib/chrony", "data"):
        (root / path).mkdir(parents=True)
    inputs.mkdir()
    config.mkdir()
    (root / "boot/firmware/cmdline.txt").write_text(CMDLINE)
    (root / "etc/machine-id").write_text("of-the-builder\n")
    (root / "etc/ssh/sshd_config").write_text("PasswordAuthentication no\n")
    (root / "etc/ssh/sshd_config").chmod(0o600)
    variables = {f"IGconf_image_{name}_part_size": f"{size}M" for name, size in SIZES.items()}
    environment = {
        "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
        "IGconf_image_name": "songlo",
        "IGconf_image_suffix": "img",
        **variables,
    }
    genimage = [find_program("genimage", "genimage"), "--rootpath", str(root)]
    genimage += ["--tmppath", str(folder / "tmp"), "--inputpath", str(inputs)]
    genimage += ["--outputpath", str(folder / "out"), "--config", str(config / "genimage.cfg")]
    for program, package in (
        ("mkdosfs", "dosfstools"),
        ("mke2fs", "e2fsprogs"),
        ("mcopy", "mtools"),
    ):
        find_program(program, package)
    for command in ([str(IMAGE / "image/pre-image.sh"), str(root), str(config)], genimage):
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=60, env=environment
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "out"


def on_ext4(partition: Path, request: str) -> str:
    """What debugfs says of a partition's file system."""
    command = [find_program("debugfs", "e2fsprogs"), "-R", request, str(partition)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout


def test_three_partitions_lie_on_whole_erase_blocks(images: Path) -> None:
    image = (images / "songlo.img").read_bytes()
    assert image[510:512] == b"\x55\xaa"
    entries = [image[446 + 16 * number :][:16] for number in range(4)]
    found = []
    for entry in entries:
        first, sectors = (int.from_bytes(entry[at : at + 4], "little") for at in (8, 12))
        found.append((entry[0], entry[4], sectors * 512 // MIB))
        assert first * 512 % (4 * MIB) == 0
    assert found == [(0x80, 0x0C, 16), (0, 0x83, 32), (0, 0x83, 24), (0, 0, 0)]


def test_the_root_is_read_only_and_only_data_is_written(images: Path) -> None:
    table = on_ext4(images / "root.ext4", "cat /etc/fstab")
    rows = {fields[1]: fields for fields in map(str.split, table.splitlines())}
    assert rows["/"][3].split(",")[0] == "ro"
    assert rows["/boot/firmware"][3].split(",")[0] == "ro"
    assert {"rw", "noatime", "errors=remount-ro"} <= set(rows["/data"][3].split(","))
    assert not {"nobarrier", "barrier=0", "data=writeback"} & set(rows["/data"][3].split(","))
    binds = {path: fields for path, fields in rows.items() if fields[2] == "none"}
    assert set(binds) == {f"/{path}" for path in KEPT}
    assert all(fields[0] == f"/data{path}" for path, fields in binds.items())
    labels = {fields[0] for fields in rows.values() if fields[0].startswith("LABEL=")}
    assert labels == {"LABEL=songlo-root", "LABEL=SONGLOBOOT", "LABEL=songlo-data"}


def test_what_is_kept_begins_as_the_root_has_it(images: Path) -> None:
    for path in KEPT:
        folder, name = f"/{path}".rsplit("/", 1)
        assert f" {name}\n" in on_ext4(images / "data.ext4", f"ls -l {folder or '/'}"), path
    listed = on_ext4(images / "data.ext4", "stat /etc/ssh/sshd_config")
    assert "Mode:  0600" in listed
    assert on_ext4(images / "root.ext4", "cat /etc/machine-id") == ""


def test_labels_are_what_the_table_and_the_kernel_look_for(images: Path) -> None:
    dumpe2fs = find_program("dumpe2fs", "e2fsprogs")
    for name in ("root", "data"):
        command = [dumpe2fs, "-h", str(images / f"{name}.ext4")]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert re.search(rf"volume name: +songlo-{name}$", said, re.MULTILINE)
        assert "has_journal" in said
    command = [find_program("mtype", "mtools"), "-i", str(images / "boot.vfat"), "::cmdline.txt"]
    line = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert line.count("\n") == 1, "the firmware reads one line"
    words = shlex.split(line)
    assert words == [
        *("console=tty1", "root=LABEL=songlo-root", "fsck.repair=yes", "rootwait"),
        *("overlayroot=tmpfs:recurse=0", "panic=10"),
    ]


def test_the_configuration_names_layers_and_variables_that_there_are() -> None:
    config = yaml.safe_load((IMAGE / "config/songlo-gateway.yaml").read_text())
    app = metadata(IMAGE / "layer/songlo-gateway.yaml")
    layout = metadata(IMAGE / "image/image.yaml")
    assert config["layer"]["app"] == app["X-Env-Layer-Name"]
    assert config["image"]["layer"] == layout["X-Env-Layer-Name"]
    for name in config["image"].keys() - {"layer", "name"}:
        assert f"X-Env-Var-{name}" in layout, name
    for path in (IMAGE / "layer/songlo-gateway.yaml", IMAGE / "image/image.yaml"):
        body = yaml.safe_load(path.read_text())
        assert set(body) == {"mmdebstrap"}
        assert all(isinstance(hook, str) for hook in body["mmdebstrap"]["customize-hooks"])
    used = set(
        re.findall(r"\$IGconf_songlo_(\w+)", (IMAGE / "layer/songlo-gateway.yaml").read_text())
    )
    assert {f"X-Env-Var-{name}" for name in used} <= set(app)


def test_the_files_laid_over_the_root_are_in_order() -> None:
    files = IMAGE / "files"
    manager = configparser.ConfigParser()
    manager.read(files / "etc/systemd/system.conf.d/songlo.conf")
    # The Pi's watchdog counts to 15 s at most; systemd would ask for less in vain.
    assert 0 < int(manager["Manager"]["RuntimeWatchdogSec"]) <= 15
    journal = configparser.ConfigParser()
    journal.read(files / "etc/systemd/journald.conf.d/songlo-image.conf")
    assert journal["Journal"]["Storage"] == "volatile"
    boot = (files / "boot/config.txt").read_text()
    assert boot.startswith("\n[all]\n") or "\n[all]\n" in boot, "not only for the last model named"
    assert {"dtparam=watchdog=on", "enable_uart=1"} <= set(boot.splitlines())
    shellcheck = find_program("shellcheck", "shellcheck")
    scripts = sorted((IMAGE / "image").glob("*.sh"))
    assert all(path.stat().st_mode & stat.S_IXUSR for path in scripts)
    done = subprocess.run(
        [shellcheck, *map(str, scripts)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
