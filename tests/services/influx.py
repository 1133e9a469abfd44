"""A real InfluxDB: Debian's 1.6.7 behind nginx, which gives it the `/api/v2/write` of later ones.

The rewrite turns `bucket` into `db`; everything else passes unchanged, so that the official client
writes to it and InfluxQL reads from it.
"""

import itertools
import shutil
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.services.process import ServerProcess, ServiceFailed, find_program, free_port

HTTP_TIMEOUT_S = 10

_INFLUXD = """\
reporting-disabled = true
bind-address = "127.0.0.1:{backup_port}"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
  index-version = "tsi1"
  query-log-enabled = false
[monitor]
  store-enabled = false
[http]
  bind-address = "127.0.0.1:{port}"
  log-enabled = false
  flux-enabled = false
[logging]
  level = "warn"
"""

_NGINX = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_max_body_size 30m;
  client_body_buffer_size 8m;
  client_body_temp_path {folder}/nginx-body;
  proxy_temp_path {folder}/nginx-proxy;
  fastcgi_temp_path {folder}/nginx-fastcgi;
  uwsgi_temp_path {folder}/nginx-uwsgi;
  scgi_temp_path {folder}/nginx-scgi;
  server {{
    listen 127.0.0.1:{port};
    location = /api/v2/write {{
      rewrite ^ /write?db=$arg_bucket&precision=$arg_precision? break;
      proxy_pass http://127.0.0.1:{influxd_port};
    }}
    location / {{
      proxy_pass http://127.0.0.1:{influxd_port};
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class InfluxDatabase:
    """One empty database and what a client needs to reach it; `server` can be stopped."""

    server: "InfluxServer"
    url: str
    org: str
    bucket: str
    token: str

    def query(self, text: str) -> str:
        """The server's JSON answer to an InfluxQL query on this database."""
        return self.server.query(text, self.bucket)


class InfluxServer:
    """influxd with nginx before it. `url` is nginx; `direct_url` is influxd itself.

    `stop`, `kill` and `start` act on influxd and keep its data: while it is down, nginx answers
    502 as a proxy does. `stop_proxy` and `start_proxy` act on nginx: then nothing listens.
    """

    def __init__(self) -> None:
        influxd = find_program("influxd", "influxdb")
        nginx = find_program("nginx", "nginx-light")
        self.folder = Path(tempfile.mkdtemp(prefix="songlo-influx-"))
        self._port, self._influxd_port, backup_port = free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.direct_url = f"http://127.0.0.1:{self._influxd_port}"
        self._names = (f"songlo_{number}" for number in itertools.count(1))
        config = self.folder / "influxd.toml"
        config.write_text(
            _INFLUXD.format(folder=self.folder, port=self._influxd_port, backup_port=backup_port)
        )
        proxy_config = self.folder / "nginx.conf"
        proxy_config.write_text(
            _NGINX.format(folder=self.folder, port=self._port, influxd_port=self._influxd_port)
        )
        self.influxd = ServerProcess(
            "influxd",
            [influxd, "-config", str(config)],
            self.folder / "influxd.log",
            lambda: _pings(self.direct_url),
        )
        self.nginx = ServerProcess(
            "nginx",
            [nginx, "-c", str(proxy_config), "-p", str(self.folder)],
            self.folder / "nginx.log",
            lambda: _pings(self.url),
        )

    def start(self) -> None:
        """Start what is not running; returns when it answers through nginx."""
        self.influxd.start()
        self.nginx.start()

    def stop(self) -> None:
        """End influxd in an orderly way; nginx stays and answers 502."""
        self.influxd.stop()

    def kill(self) -> None:
        """SIGKILL influxd; nginx stays and answers 502."""
        self.influxd.kill()

    def stop_proxy(self) -> None:
        """End nginx: connections are refused."""
        self.nginx.stop()

    def start_proxy(self) -> None:
        """Start nginx again."""
        self.nginx.start()

    def close(self) -> None:
        """Kill both and remove their folder."""
        self.nginx.close()
        self.influxd.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def create_database(self) -> InfluxDatabase:
        """A new empty database."""
        name = next(self._names)
        self.query(f'CREATE DATABASE "{name}"')
        return InfluxDatabase(self, self.url, "songlo", name, "unchecked-by-this-server")

    def drop_database(self, database: InfluxDatabase) -> None:
        """Remove a database and its data."""
        self.query(f'DROP DATABASE "{database.bucket}"')

    def query(self, text: str, database: str = "") -> str:
        """The server's JSON answer to an InfluxQL statement, asked of influxd itself."""
        form = {"q": text} | ({"db": database} if database else {})
        request = urllib.request.Request(
            f"{self.direct_url}/query", data=urllib.parse.urlencode(form).encode()
        )
        with urllib.request.urlopen(request, timeout=HTTP_TIMEOUT_S) as answer:
            body: str = answer.read().decode()
        if '"error"' in body:
            raise ServiceFailed(f"InfluxDB refused {text!r}: {body}")
        return body

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _pings(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/ping", timeout=HTTP_TIMEOUT_S) as answer:
            return bool(answer.status == 204)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
