"""The API over TLS of its own: real certificates, no old protocols, renewed without a restart."""

import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from collector.api.serving import renewing, server_of
from collector.config import ApiConfig, ApiTlsConfig, ConfigError
from tests.api.test_api_bounds import running
from tests.api.world import World
from tests.services.process import free_port


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=30)


def certificate(folder: Path, name: str) -> None:
    """A key and a certificate for 127.0.0.1 that vouches for itself."""
    openssl(
        folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-days", "30", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1",
        "-keyout", f"{name}.key", "-out", f"{name}.pem",
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    for name in ("first", "second"):
        certificate(folder, name)
    openssl(folder, "ec", "-in", "first.key", "-aes256", "-passout", "pass:x", "-out", "locked.key")
    return folder


@pytest.fixture
def shown(made: Path, tmp_path: Path) -> ApiTlsConfig:
    """The files that the API is given, with the first certificate in them."""
    tls = ApiTlsConfig(certificate_file=tmp_path / "api.pem", key_file=tmp_path / "api.key")
    show(made, tls, "first")
    return tls


def show(made: Path, tls: ApiTlsConfig, name: str) -> None:
    tls.key_file.write_bytes((made / f"{name}.key").read_bytes())
    tls.certificate_file.write_bytes((made / f"{name}.pem").read_bytes())


@pytest.fixture
def url(empty: World, shown: ApiTlsConfig) -> Iterator[str]:
    with running(empty.app, ApiConfig(port=free_port(), tls=shown)) as found:
        yield found


def trusting(made: Path, name: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(made / f"{name}.pem"))


def shaken(url: str, context: ssl.SSLContext, name: str | None = None) -> str | None:
    """The protocol that a handshake agrees on. Raises ssl.SSLError."""
    port = int(url.rsplit(":", 1)[1])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as line,
        context.wrap_socket(line, server_hostname=name) as secure,
    ):
        return secure.version()


def test_over_tls_a_key_is_sent_to_whom_it_is_for(url: str, made: Path, empty: World) -> None:
    with httpx.Client(verify=trusting(made, "first")) as client:
        answer = client.get(f"{url}/v1/stations", headers=empty.headers())
        assert answer.status_code == 200
        assert answer.headers["Strict-Transport-Security"].startswith("max-age=")
        cookies = client.get(f"{url}/login").headers.get_list("set-cookie")
        assert cookies
        assert all("secure" in cookie.lower() for cookie in cookies)
    with httpx.Client(verify=trusting(made, "second")) as client, pytest.raises(httpx.ConnectError):
        client.get(f"{url}/health")
    # Who forgets the s is not answered, and so sends a key in clear text only once.
    with pytest.raises(httpx.HTTPError):
        httpx.get(url.replace("https", "http") + "/health")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_tls_1_0_and_1_1_are_not_spoken(
    url: str, shown: ApiTlsConfig, version: ssl.TLSVersion
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    # The client would speak them: only the server's own limit is in the way.
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with pytest.raises(ssl.SSLError):
        shaken(url, context)
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    assert shaken(url, context) == "TLSv1.3"
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert shaken(url, context) == "TLSv1.2"
    # Said here too, whatever the machine's OpenSSL would do by itself.
    assert renewing(shown).minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("name", ["127.0.0.1", None])
def test_a_certificate_is_renewed_without_a_restart(
    url: str, made: Path, shown: ApiTlsConfig, name: str | None
) -> None:
    first, second = trusting(made, "first"), trusting(made, "second")
    for context in (first, second):
        context.check_hostname = name is not None
    assert shaken(url, first, name)
    shown.key_file.write_text("half of it")
    assert shaken(url, first, name)  # what cannot be used does not end what can
    show(made, shown, "second")
    assert shaken(url, second, name)
    with pytest.raises(ssl.SSLError):
        shaken(url, first, name)


@pytest.mark.parametrize("key", ["second.key", "locked.key", "none.key", "first.pem"])
def test_a_certificate_that_cannot_be_used_is_said_before_anything_listens(
    empty: World, made: Path, key: str
) -> None:
    tls = ApiTlsConfig(certificate_file=made / "first.pem", key_file=made / key)
    with pytest.raises(ConfigError, match=r"api\.tls") as raised:
        server_of(empty.app, ApiConfig(port=free_port(), tls=tls))
    assert raised.value.hint


def test_without_tls_nobody_is_told_to_insist_on_it(empty: World) -> None:
    with running(empty.app, ApiConfig(port=free_port())) as url:
        answer = httpx.get(f"{url}/health")
        assert "Strict-Transport-Security" not in answer.headers
        assert "server" not in answer.headers
        # A proxy on this machine that speaks TLS is believed.
        proxied = httpx.get(f"{url}/health", headers={"X-Forwarded-Proto": "https"})
        assert "Strict-Transport-Security" in proxied.headers
