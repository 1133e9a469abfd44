"""What a gateway does beside polling and delivering: commands, and station files from afar.

Puts these parts together for `gateway.app`. It must not decide anything that they decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from contract.commands import ResultCode
from contract.topics import CommandTopic, ConfigTopic, build, command_filter
from gateway.command_service import Abilities, CommandService
from gateway.config import StationConfig
from gateway.config_service import ConfigReporter, ConfigService, ConfigTrial
from gateway.control import Control
from gateway.mailbox import Mailbox
from gateway.outbox_thread import OutboxThread
from gateway.ports import Clock, ClockLine, ClockSetting, Line
from gateway.pulse import Pulse
from gateway.scan import Scanner
from gateway.telling import Teller
from gateway.undated import Undated
from gateway.uplink import Uplink


class Service(Protocol):
    """Something that runs until it is cancelled, or is done."""

    @property
    def pulses(self) -> Sequence[Pulse]:
        """The signs of life of its loops."""
        ...

    async def run(self) -> None:
        """Do its work."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What the services work with."""

    lines: Sequence[Line]
    scanner: Scanner
    outbox: OutboxThread
    clock: Clock
    uplink: Uplink
    mailbox: Mailbox
    undated: Undated


def wire_services(
    config: StationConfig, control: Control, parts: Parts, version: str
) -> list[Service]:
    """The services of one run, and the mailbox made ready for what they wait for."""
    health, undated = parts.scanner.health, parts.undated
    teller = Teller(config.station, parts.clock, health, lambda: undated.knows_time)
    commands = _commands(config, control, parts, teller, version)
    services: list[Service] = [commands]
    filters = [command_filter(config.gateway)]
    configs = None
    if control.store is not None:
        reporter = ConfigReporter(teller, parts.outbox, parts.clock, parts.uplink.wake)
        configs = ConfigService(
            config,
            control.path.parent,
            control.local,
            control.store,
            reporter,
            answering=lambda: [s.line for s in parts.scanner.status() if s.answered],
            restart=control.restart,
        )
        services.append(configs)
        filters.append(build(ConfigTopic(config.gateway)))
        if control.trial is not None:
            services.append(
                ConfigTrial(
                    control.trial,
                    control.store,
                    reporter,
                    parts.scanner,
                    parts.lines,
                    acked=parts.uplink.acked,
                    connected=lambda: parts.uplink.is_connected,
                    restart=control.restart,
                )
            )

    def received(topic: CommandTopic | ConfigTopic, payload: bytes) -> None:
        if isinstance(topic, CommandTopic):
            commands.receive(topic.command, payload)
        elif configs is not None:
            configs.receive(payload)

    parts.mailbox.filters = tuple(filters)
    parts.mailbox.wake = parts.uplink.wake
    parts.mailbox.received = received
    return services


def _commands(
    config: StationConfig, control: Control, parts: Parts, teller: Teller, version: str
) -> CommandService:
    async def set_clock(serial: str) -> ClockSetting:
        for line in parts.lines:
            for meter in line.meters:
                if meter.serial == serial and isinstance(line, ClockLine):
                    limit_s = config.commands.clock_limit_s
                    return await line.set_clock(meter, limit_s)
        text = f"the line of meter {serial} has no way to set clocks"
        return ClockSetting(ResultCode.NOT_SUPPORTED, text)

    abilities = Abilities(
        version=version,
        config_version=lambda: control.version,
        problems=control.problems,
        restart=control.restart,
        set_clock=set_clock,
    )
    return CommandService(
        teller,
        parts.mailbox,
        parts.outbox,
        parts.scanner,
        config.schedule,
        parts.clock,
        abilities,
        kept=parts.uplink.wake,
    )
