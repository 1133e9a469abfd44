"""What the code itself must not do with secrets, nor for others: looked for in its syntax."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.config import ApiConfig

ROOT = Path(__file__).parents[2]
SECRET_WORDS = frozenset({"secret", "password", "passphrase", "token", "mac", "signature", "nonce"})
# Hashes of secrets are compared like secrets; hashes of contents are not.
KEY_ROOMS = ("collector/operations/keys.py", "collector/console/session.py")
# What a caller chose for a request of its own is looked up by the database, and guards nothing.
NOT_SECRET = {"collector/ledger/idempotency.py": frozenset({"token"})}
LENGTHS = frozenset({"bytes", "chars", "len"})
LOG_METHODS = frozenset({"debug", "info", "warning", "error", "exception", "critical", "log"})

# Who may open a connection to somewhere, and to where: never to what a request named.
CLIENTS = {
    "collector/readings/influx_store.py",  # readings.url of the collector file
    "collector/intake/mqtt.py",  # broker.host of the collector file
    "collector/supervision.py",  # systemd's socket on this machine
}
CLIENT_MODULES = frozenset(
    {"aiohttp", "ftplib", "http.client", "httpx", "influxdb_client", "paho", "requests", "smtplib",
     "socket", "urllib.request", "urllib3", "websockets"}
)  # fmt: skip


def modules(*packages: str) -> list[Path]:
    return sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))


def words_of(node: ast.expr) -> set[str]:
    """The words of what an expression is called: `self._mac(x)` is {"mac"}."""
    if isinstance(node, ast.Call):
        return words_of(node.func)
    name = getattr(node, "attr", getattr(node, "id", ""))
    return set(str(name).lower().strip("_").split("_"))


def secret_comparisons(tree: ast.AST, words: frozenset[str]) -> Iterator[int]:
    """The lines where something that is called a secret is compared by == or !=."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare):
            continue
        if not any(isinstance(one, ast.Eq | ast.NotEq) for one in node.ops):
            continue
        sides = [node.left, *node.comparators]
        if any(isinstance(side, ast.Constant) for side in sides):
            continue  # with what everybody may know
        named = set().union(*map(words_of, sides))
        if named & words and not named & LENGTHS:
            yield node.lineno


def test_secrets_are_compared_in_constant_time() -> None:
    for path in modules("collector", "contract", "fleet", "gateway"):
        name = str(path.relative_to(ROOT))
        words = SECRET_WORDS | ({"sha256", "hash", "digest"} if name in KEY_ROOMS else frozenset())
        words -= NOT_SECRET.get(name, frozenset())
        assert list(secret_comparisons(ast.parse(path.read_text()), words)) == [], name
    for name in KEY_ROOMS:
        assert "compare_digest(" in (ROOT / name).read_text(), name


@pytest.mark.parametrize(
    ("code", "is_seen"),
    [
        ("a = token == other", True),
        ("a = self._mac(x) != mac", True),
        ("a = x.api_token == y", True),
        ("a = token == 'x'", False),
        ("a = hmac.compare_digest(token, other)", False),
        ("a = len(plain) == TOKEN_CHARS", False),
    ],
)
def test_a_comparison_that_tells_the_time_would_be_seen(code: str, is_seen: bool) -> None:
    assert bool(list(secret_comparisons(ast.parse(code), SECRET_WORDS))) is is_seen


def test_no_secret_is_handed_to_a_log() -> None:
    words = frozenset({"secret", "password", "passphrase", "token"})
    for path in modules("collector", "fleet", "gateway", "songlo"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr not in LOG_METHODS or "log" not in words_of(node.func.value):
                continue
            given = [*node.args, *(keyword.value for keyword in node.keywords)]
            for part in (one for argument in given for one in ast.walk(argument)):
                if isinstance(part, ast.Name | ast.Attribute):
                    assert not words_of(part) & words, f"{path}:{node.lineno}"


def test_what_needs_no_secret_is_for_this_machine_only() -> None:
    assert ApiConfig().host == "127.0.0.1"
    for path in modules("songlo"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert node.value not in {"0.0.0.0", "::", "[::]"}, f"{path}:{node.lineno}"
    # The demo's broker, which anybody may enter, names where it listens.
    broker = (ROOT / "songlo" / "demo" / "broker.py").read_text()
    assert re.findall(r'bind=f?"([^"{]+)', broker) == ["127.0.0.1:"]


def imported(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{one.name}" for one in node.names)}
    return found


def test_no_request_makes_the_collector_call_somewhere() -> None:
    """SSRF: only these modules can open a connection, to where the collector file says."""
    callers = set()
    for path in modules("collector"):
        for name in imported(ast.parse(path.read_text())):
            parts = name.split(".")
            heads = {".".join(parts[:count]) for count in range(1, len(parts) + 1)}
            if heads & CLIENT_MODULES:
                callers.add(str(path.relative_to(ROOT)))
    assert callers == CLIENTS
