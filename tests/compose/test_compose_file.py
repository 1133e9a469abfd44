"""docker-compose.yml: valid, complete, and safe as it stands."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from collector.config import load_config
from gateway.config import load_station
from tests.compose import demo_files
from tests.compose.plain import ROOT, load_make_secrets, substituted

FILE = ROOT / "docker-compose.yml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
LASTING = {name: one for name, one in SERVICES.items() if one["restart"] != "no"}
INTERNAL = {name for name, one in COMPOSE["networks"].items() if one.get("internal")}
COLLECTOR_FILE = ROOT / "firmware_config" / "collector" / "compose.yaml"


def _secrets(service: dict[str, Any]) -> dict[str, str]:
    """Path inside the container of each secret of a service, by the secret's name."""
    entries = [
        {"source": entry} if isinstance(entry, str) else entry
        for entry in service.get("secrets", [])
    ]
    return {e["source"]: e.get("target", f"/run/secrets/{e['source']}") for e in entries}


def _mounts(service: dict[str, Any]) -> dict[str, str]:
    """Path inside the container of each bind mount, by its source."""
    return {mount["source"]: mount["target"] for mount in service.get("volumes", [])}


def test_the_compose_specification_accepts_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", FILE],
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stdout


def test_the_schema_check_can_fail(tmp_path: Path) -> None:
    wrong = tmp_path / "docker-compose.yml"
    text = FILE.read_text(encoding="utf-8")
    wrong.write_text(text.replace("read_only: true\n", "readonly: true\n"), encoding="utf-8")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, str(wrong)], check=False, capture_output=True, timeout=50)
    assert done.returncode == 1
    assert b"readonly" in done.stdout


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_container_has_more_rights_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["user"].startswith("${SONGLO_UID:?")  # refuses to start without it
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "devices"} & set(service)
    assert service["networks"]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_images_are_of_one_version(name: str) -> None:
    assert re.search(r":\d+\.\d+(\.\d+)?(-[a-z]+)?$", SERVICES[name]["image"])


def test_our_image_has_the_projects_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ours = {one["image"] for one in SERVICES.values() if "build" in one}
    assert ours == {f"songlo:{project['version']}"}


@pytest.mark.parametrize("name", sorted(LASTING))
def test_what_stays_is_watched_bounded_and_restarted(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    assert service["logging"]["options"]["max-size"]


def test_the_demo_is_a_profile_and_the_rest_is_not() -> None:
    demo = {name for name, one in SERVICES.items() if one.get("profiles") == ["demo"]}
    assert demo == {"simulator", "simulator-live", "registry", "gateway"}
    assert not [name for name, one in SERVICES.items() if "profiles" in one and name not in demo]


def test_secrets_come_from_files_that_the_script_makes(tmp_path: Path) -> None:
    made = load_make_secrets().run(["--project", str(tmp_path)])
    names = {str(path.relative_to(tmp_path / "secrets")) for path in made}
    prefix = "${SONGLO_SECRETS:-./secrets}/"
    declared = {name: one["file"] for name, one in COMPOSE["secrets"].items()}
    assert all(file.startswith(prefix) for file in declared.values())
    assert {file.removeprefix(prefix) for file in declared.values()} <= names
    used = {secret for service in SERVICES.values() for secret in _secrets(service)}
    assert used == set(declared)
    # The authorities' keys sign new certificates; no container may have one.
    assert not [file for file in declared.values() if file.endswith("ca.key")]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_secret_stands_in_the_environment(name: str) -> None:
    service = SERVICES[name]
    for key, value in service.get("environment", {}).items():
        if re.search("PASSWORD|TOKEN|SECRET|KEY", key):
            assert key.endswith("_FILE"), key
            assert value in _secrets(service).values(), key


def test_mounted_files_exist_and_data_folders_are_made() -> None:
    folders = set(load_make_secrets().DATA_FOLDERS)
    used = set()
    for service in SERVICES.values():
        for mount in service.get("volumes", []):
            source = mount["source"]
            if source.startswith("./data/"):
                used.add(source.removeprefix("./data/"))
                assert mount["bind"] == {"create_host_path": False}
            else:
                assert mount["read_only"] is True
                assert (ROOT / source).exists(), source
    assert used == folders


def test_stores_are_reachable_by_containers_only() -> None:
    for name in ("influxdb", "postgres", "simulator"):
        assert set(SERVICES[name]["networks"]) <= INTERNAL
        assert "ports" not in SERVICES[name]
    assert SERVICES["broker"]["ports"] == ["8883:8883"]  # TLS with certificates on both sides
    for name in ("collector", "grafana"):
        assert all(p.startswith("${SONGLO_BIND:-127.0.0.1}:") for p in SERVICES[name]["ports"])


def test_the_broker_finds_every_file_that_its_configuration_names() -> None:
    broker = SERVICES["broker"]
    present = {*_mounts(broker).values(), *_secrets(broker).values()}
    for name in ("mosquitto.conf", "tls.conf"):
        text = (ROOT / "firmware_config" / "broker" / name).read_text(encoding="utf-8")
        settings = [line.split(maxsplit=1) for line in text.splitlines() if line[:1] not in "# "]
        for key, value in (setting for setting in settings if len(setting) == 2):
            if value.startswith("/") and key != "include_dir":
                assert value.rstrip("/") in present, key
    assert "/etc/mosquitto/songlo.d/tls.conf" in present


def test_grafana_finds_what_its_provisioning_names() -> None:
    grafana = SERVICES["grafana"]
    folder = ROOT / "dashboards" / "provisioning"
    text = "".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.yaml"))
    assert set(re.findall(r"\$__file\{([^}]+)\}", text)) <= set(_secrets(grafana).values())
    assert set(re.findall(r"\$__env\{([^}]+)\}", text)) <= set(grafana["environment"])
    (path,) = re.findall(r"path: (\S+)", text)
    assert path == _mounts(grafana)["./dashboards/json"]


def test_the_collectors_file_names_the_services_and_their_secrets() -> None:
    config = load_config(COLLECTOR_FILE)
    files = set(_secrets(SERVICES["collector"]).values())
    assert config.readings.store == "influxdb"
    assert config.readings.url == "http://influxdb:8086"
    assert config.ledger.startswith("postgresql+psycopg://songlo@postgres:")
    assert config.broker.host == "broker"
    named = (config.ledger_password_file, config.readings.token_file, config.broker.password_file)
    assert {str(file) for file in named} <= files
    influxdb = SERVICES["influxdb"]["environment"]
    assert config.readings.bucket == influxdb["DOCKER_INFLUXDB_INIT_BUCKET"]
    assert config.readings.org == influxdb["DOCKER_INFLUXDB_INIT_ORG"]
    acl = (ROOT / "firmware_config" / "broker" / "acl").read_text(encoding="utf-8")
    assert f"user {config.broker.username}\n" in acl


def test_the_demos_files_follow_from_its_simulator() -> None:
    for name, text in demo_files.rendered().items():
        on_disk = (demo_files.FOLDER / name).read_text(encoding="utf-8")
        assert on_disk == text, "run: python -m tests.compose.demo_files"


def test_the_demos_station_file_is_one_that_the_gateway_takes(tmp_path: Path) -> None:
    targets = _secrets(SERVICES["gateway"])
    text = (demo_files.FOLDER / "station.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"/etc/songlo/tls/\S+", text)) == set(targets.values())
    for target in targets.values():
        (tmp_path / Path(target).name).touch()
    replaced = substituted(demo_files.FOLDER / "station.yaml", {"/etc/songlo/tls": str(tmp_path)})
    (tmp_path / "station.yaml").write_text(replaced, encoding="utf-8")
    config = load_station(tmp_path / "station.yaml")
    # Its certificate says this name, and the broker lets it publish under no other.
    assert COMPOSE["secrets"]["demo_gateway_key"]["file"].endswith(f"/{config.gateway}.key")


def test_the_image_is_made_of_what_the_build_may_see() -> None:
    docker = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    sources = {
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", docker, re.MULTILINE)
        for source in line.split()[:-1]
    }
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    assert {f"!{source}" for source in sources} <= set(ignored)
    assert all((ROOT / source).exists() for source in sources)
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]
    assert set(packages["build"]["targets"]["wheel"]["packages"]) <= sources
    assert re.search(r"^USER \d+", docker, re.MULTILINE)
