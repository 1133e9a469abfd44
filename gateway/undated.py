"""Before the time is known: scans by the monotonic clock, held until they can be dated.

A Raspberry Pi has no clock that runs without power. Owns what is done until its time is set, and
what becomes of what an earlier start of the computer left. It must not know slots.
"""

from datetime import timedelta
from pathlib import Path

import structlog

from contract.messages import Clock as ClockState
from gateway.clock import PLAUSIBLE_CHECK_S, PLAUSIBLE_YEAR
from gateway.held import HeldScan, held, undated_drafts
from gateway.keeping import Keeper
from gateway.outbox_values import Held
from gateway.ports import Clock
from gateway.scan import Scanner

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# The network and the time server are usually there within so long: then nothing need be held.
PATIENCE_S = 120.0

log = structlog.get_logger("gateway.polling")


def boot_id() -> str:
    """What the kernel calls this start of the computer."""
    return BOOT_ID.read_text(encoding="ascii").strip()


class Undated:
    """Scans without a date of one station. `boot` names this start of the computer.

    `hold` says that nothing is sent before the clock is synchronised; without it a plausible clock
    is enough.
    """

    def __init__(
        self,
        scanner: Scanner,
        keeper: Keeper,
        clock: Clock,
        *,
        boot: str,
        hold: bool,
    ) -> None:
        self._outbox = keeper.outbox
        self._scanner = scanner
        self._keeper = keeper
        self._clock = clock
        self._boot = boot
        self._hold = hold
        self._knew = False

    @property
    def knows_time(self) -> bool:
        """Whether what happens now can be dated and sent."""
        return self._is_known()

    async def wait(self, interval: timedelta) -> None:
        """Return when the time is known; until then scan and hold, every `interval`.

        Once it was known in this start of the computer it stays so, whatever becomes of the time
        server: the clock is off by seconds a day then.
        """
        await self._send_older()
        knew = self._knew = await self._keeper.ask(lambda: self._outbox.knew_time(self._boot))
        last_s = await self._keeper.ask(lambda: self._outbox.last_held_s(self._boot))
        due_s = self._clock.monotonic_s() + PATIENCE_S
        if last_s is not None:
            due_s = last_s + interval.total_seconds()
        told = False
        while not self._is_known():
            self._keeper.pulse.beat()
            if not told:
                log.warning("the time is not known; scans are held until it is")
                told = True
            left_s = due_s - self._clock.monotonic_s()
            if left_s > 0:
                await self._pause(min(left_s, PLAUSIBLE_CHECK_S))
                continue
            begun_s = self._clock.monotonic_s()
            deadline = self._clock.now() + interval
            self._keeper.pulse.beat(interval.total_seconds())
            results = await self._scanner.scan(index=True, deadline=deadline)
            await self._keeper.hold(self._boot, begun_s, results)
            due_s = begun_s + interval.total_seconds()
        if self._clock.state() is ClockState.SYNCED and not knew:
            await self._keeper.know_time(self._boot)
        self._knew = True

    async def oldest(self) -> tuple[Held, HeldScan] | None:
        """The oldest scan that this start of the computer left to be dated."""
        return await self._next(of_others=False)

    async def _send_older(self) -> None:
        """What an earlier start left that never learnt the time: evidence, sent as such."""
        count = 0
        while (found := await self._next(of_others=True)) is not None:
            row, scan = found
            drafts = undated_drafts(self._keeper.station, scan)
            if not await self._keeper.keep(drafts, release=row.row_id, telling=False):
                return
            count += 1
        if count:
            log.warning("scans of an earlier start cannot be dated: sent as evidence", scans=count)

    async def _next(self, *, of_others: bool) -> tuple[Held, HeldScan] | None:
        while (
            row := await self._keeper.ask(
                lambda: self._outbox.next_held(self._boot, of_others=of_others)
            )
        ) is not None:
            try:
                return row, held(row.content)
            except ValueError as error:
                log.error("a held scan is damaged and dropped", error=str(error))  # noqa: TRY400 no trace
                if not await self._keeper.keep(release=row.row_id, telling=False):
                    return None
        return None

    def _is_known(self) -> bool:
        if self._clock.now().year < PLAUSIBLE_YEAR:
            return False
        return self._knew or not self._hold or self._clock.state() is ClockState.SYNCED

    async def _pause(self, seconds: float) -> None:
        await self._clock.sleep_until(self._clock.now() + timedelta(seconds=seconds))
