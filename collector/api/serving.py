"""The server of the API: where it listens, its TLS, and what a connection may cost.

It must not know what is served; the application is handed to it.
"""

import ssl
from collections.abc import Callable
from pathlib import Path

import structlog
import uvicorn
from starlette.types import ASGIApp

from collector.config import ApiConfig, ApiTlsConfig, ConfigError

# How long requests in hand may take when the API stops, in seconds.
STOP_S = 5

# Connections and requests at once; more are answered 503. Each costs a socket and some kilobytes.
CONNECTIONS_MAX = 500

# How long a connection without a request is kept, in seconds.
IDLE_S = 15

_log = structlog.get_logger(__name__)


def server_of(app: ASGIApp, api: ApiConfig) -> uvicorn.Server:
    """The server of `app`, not started. Raises ConfigError if its certificate cannot be used."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=api.host,
            port=api.port,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=STOP_S,
            timeout_keep_alive=IDLE_S,
            limit_concurrency=CONNECTIONS_MAX,
            server_header=False,
            ssl_context_factory=None if api.tls is None else _factory(renewing(api.tls)),
        )
    )


def _factory(
    context: ssl.SSLContext,
) -> Callable[[uvicorn.Config, Callable[[], ssl.SSLContext]], ssl.SSLContext]:
    return lambda _config, _default: context


def renewing(tls: ApiTlsConfig) -> ssl.SSLContext:
    """TLS 1.2 and later with the certificate that lies there when a connection comes.

    So a certificate is renewed without a restart. One that cannot be used is said in the log, and
    the one before goes on. Raises ConfigError if the first one cannot be used.
    """
    try:
        seen, used = _stamp(tls), _context(tls)
        first = _context(tls)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigError(
            f"api.tls: {tls.certificate_file} and {tls.key_file} cannot be used: {error}",
            hint="PEM files, the key without a passphrase and readable to the collector",
        ) from error

    def choose(connection: ssl.SSLObject | ssl.SSLSocket, _name: str, _: ssl.SSLContext) -> None:
        nonlocal seen, used
        try:
            now = _stamp(tls)
            if now != seen:
                seen = now
                used = _context(tls)
                _log.info("api_certificate_renewed", file=str(tls.certificate_file))
        except (OSError, ValueError) as error:
            _log.error("api_certificate_unusable", why=str(error))
        connection.context = used

    first.sni_callback = choose  # is asked where no name was sent too
    return first


def _context(tls: ApiTlsConfig) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    # Without a passphrase: nobody is there to type one.
    made.load_cert_chain(tls.certificate_file, tls.key_file, password="")
    return made


def _stamp(tls: ApiTlsConfig) -> tuple[tuple[int, int], ...]:
    return tuple(_stamp_of(path) for path in (tls.certificate_file, tls.key_file))


def _stamp_of(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_ino
