"""Station files for gateways: their versions, and that they are sent as they were signed.

It must not know how a broker is reached or where keys are kept; what a station file says beyond
whose it is, is the gateway's business.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import yaml

from collector.errors import Conflict, InvalidRequest
from collector.ledger import Ledger
from collector.ledger.audit import AuditEntry
from collector.operations.commands import SEND_TIMEOUT_S, BrokerUnavailable, Sender
from collector.operations.fleet import gateways
from contract.limits import CONFIG_BYTES_MAX
from contract.messages import ConfigStatus, encode
from contract.signed_config import SignedConfig
from contract.topics import ConfigTopic, build, is_name


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """What a gateway says of its station file; None before it says anything of it."""

    known: bool
    online: bool
    status: ConfigStatus | None


def gateway_of(station_file: str) -> str:
    """The gateway that a station file is for. Raises InvalidRequest where it does not say."""
    try:
        data = yaml.safe_load(station_file)
    except yaml.YAMLError as error:
        raise InvalidRequest(
            f"the station file is not YAML: {error}",
            hint="check it with: songlo gateway check --config FILE",
        ) from error
    name = data.get("gateway") or data.get("station") if isinstance(data, Mapping) else None
    if not isinstance(name, str) or not is_name(name):
        raise InvalidRequest(
            "the station file does not say whose it is",
            hint="check it with: songlo gateway check --config FILE",
        )
    if "config" not in data:
        raise InvalidRequest(
            "the station file has no section 'config': its gateway would refuse it",
            hint="add config: {public_key_file: …} (docs/remote-configuration.md)",
        )
    return name


def gateway_config(ledger: Ledger, gateway: str, now: datetime) -> GatewayConfig:
    """What a gateway said last of its station file."""
    for view in gateways(ledger, now):
        if view.gateway == gateway:
            return GatewayConfig(True, view.online, view.config)
    return GatewayConfig(False, False, None)


def next_version(status: ConfigStatus | None, retained: SignedConfig | None) -> int:
    """The lowest version that a gateway can take, as far as is known here."""
    seen = [0 if status is None else status.highest, 0 if retained is None else retained.version]
    return max(seen) + 1


def check_version(config: SignedConfig, status: ConfigStatus | None) -> None:
    """Raises Conflict for a version that the gateway would refuse."""
    highest = 0 if status is None else status.highest
    if config.version <= highest:
        raise Conflict(
            f"gateway {config.gateway} has accepted version {highest} before",
            hint=f"sign it as version {highest + 1} or higher",
        )


def check_size(config: SignedConfig) -> None:
    """Raises InvalidRequest for a station file that is too large for a message."""
    size = len(encode(config))
    if size > CONFIG_BYTES_MAX:
        raise InvalidRequest(
            f"the signed station file has {size} bytes, at most {CONFIG_BYTES_MAX} are allowed"
        )


def publish(
    ledger: Ledger, sender: Sender, config: SignedConfig, *, actor: str, now: datetime
) -> None:
    """Have the broker keep a signed station file for its gateway. Raises BrokerUnavailable."""
    detail = {
        "version": config.version,
        "sha256": hashlib.sha256(config.station_file.encode()).hexdigest(),
    }
    with ledger.begin() as uow:
        uow.audit.add(AuditEntry(now, actor, "config.publish", config.gateway, detail))
    topic = build(ConfigTopic(config.gateway))
    if not sender.send(topic, encode(config), retain=True, timeout_s=SEND_TIMEOUT_S):
        raise BrokerUnavailable(
            "the broker did not take the station file",
            hint="see that it runs and that the identity may publish configurations; then again",
        )
