"""Delivery over a real broker: window, order, resending, acks, status, peers that go away."""

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from contract.messages import Clock as ClockState
from contract.messages import LineStatus, Status
from gateway.config import Tls
from gateway.mqtt import Broker
from gateway.outbox_thread import OutboxThread
from gateway.station_file import UplinkSection
from gateway.uplink import Identity, Uplink
from tests.gateway_delivery.building import MIB, at, epoch, open_outbox, scan_draft
from tests.gateway_delivery.collecting import Collecting, until
from tests.gateway_delivery.fakes import SteppedClock
from tests.services import Mosquitto, free_port
from tests.services.process import accepts_connections

NAME = "T1"
QUICK = UplinkSection(window=20, resend_after_s=0.3, resend_after_max_s=2)
LINES = [LineStatus("line-1", "up", 4, 4)]


@pytest.fixture
def broker() -> Iterator[Mosquitto]:
    with Mosquitto() as running:
        yield running


class Sending:
    """An outbox and an uplink that runs."""

    def __init__(self, outbox: OutboxThread, uplink: Uplink) -> None:
        self.outbox = outbox
        self.uplink = uplink

    async def keep(self, count: int, minute: float = 0) -> None:
        """Keep `count` batches, a transaction each."""
        for n in range(count):
            await self.outbox.append([scan_draft(minute + n)], at=at(minute))
        self.uplink.wake()

    async def waiting(self) -> int:
        return (await self.outbox.state())[1].waiting

    async def until_empty(self) -> None:
        async with asyncio.timeout(20):
            while await self.waiting():  # noqa: ASYNC110 polled within a deadline
                await asyncio.sleep(0.01)


def has_arrived(collector: Collecting, count: int) -> bool:
    return len(collector.arrived) >= count


@asynccontextmanager
async def sending(
    folder: Path,
    port: int,
    *,
    settings: UplinkSection = QUICK,
    number: int = 1,
    now_min: float = 0,
    tls: Tls | None = None,
    backlog: int = 0,
    keepalive_s: int = 5,
) -> AsyncIterator[Sending]:
    outbox = OutboxThread(open_outbox(folder, number, 256 * MIB))
    clock = SteppedClock(at(now_min), at(now_min))
    uplink = Uplink(
        Broker("127.0.0.1", port, f"test-{NAME}", keepalive_s=keepalive_s, tls=tls),
        Identity(NAME, NAME, "0.1"),
        settings,
        outbox,
        clock,
        lambda: LINES,
    )
    state = Sending(outbox, uplink)
    await state.keep(backlog, now_min - 10_000)
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(uplink.run())
            yield state
            task.cancel()
    finally:
        outbox.close()


@pytest.mark.asyncio
async def test_what_is_kept_arrives_and_is_forgotten_when_acknowledged(
    tmp_path: Path, broker: Mosquitto
) -> None:
    with Collecting(broker.port, NAME) as collector:
        async with sending(tmp_path, broker.port) as gateway:
            await gateway.keep(3)
            await gateway.until_empty()
    assert sorted(collector.arrived) == [(epoch(1), 1), (epoch(1), 2), (epoch(1), 3)]
    assert collector.payloads[epoch(1), 2] == scan_draft(1).payload


@pytest.mark.asyncio
async def test_no_more_than_the_window_is_under_way(tmp_path: Path, broker: Mosquitto) -> None:
    settings = UplinkSection(window=5, resend_after_s=60)
    with Collecting(broker.port, NAME, acks=False) as collector:
        async with sending(tmp_path, broker.port, settings=settings, backlog=30) as gateway:
            await until(lambda: len(collector.arrived) == 5, "a window of batches")
            await asyncio.sleep(0.3)  # long enough for a sixth, if it were sent
            assert [seq for _, seq in collector.arrived] == [1, 2, 3, 4, 5]
            collector.ack({epoch(1): 2}, {epoch(1): [(4, 4)]})
            await until(lambda: len(collector.arrived) == 8, "the window filled up")
            await asyncio.sleep(0.1)
            assert [seq for _, seq in collector.arrived] == list(range(1, 9))
            assert await gateway.waiting() == 27


@pytest.mark.asyncio
async def test_live_batches_go_ahead_of_a_backlog(tmp_path: Path, broker: Mosquitto) -> None:
    settings = UplinkSection(window=4, resend_after_s=60, live_age_s=600)
    with Collecting(broker.port, NAME, acks=False) as collector:
        async with sending(tmp_path, broker.port, settings=settings, backlog=10) as gateway:
            await until(lambda: len(collector.arrived) == 4, "the head of the backlog")
            await gateway.keep(1)
            collector.ack({epoch(1): 2})
            await until(lambda: len(collector.arrived) == 6, "two more")
    assert [seq for _, seq in collector.arrived] == [1, 2, 3, 4, 11, 5]


@pytest.mark.asyncio
async def test_a_backlog_of_1500_batches_is_gone_within_seconds(
    tmp_path: Path, broker: Mosquitto
) -> None:
    with Collecting(broker.port, NAME) as collector:
        async with sending(
            tmp_path, broker.port, settings=UplinkSection(), backlog=1500
        ) as gateway:
            began_s = time.monotonic()
            await gateway.until_empty()
            took_s = time.monotonic() - began_s
    assert len(collector.arrived) == 1500, "and nothing twice"
    assert took_s < 15


@pytest.mark.asyncio
async def test_what_is_not_acknowledged_is_sent_again_ever_more_slowly(
    tmp_path: Path, broker: Mosquitto
) -> None:
    settings = UplinkSection(resend_after_s=0.2, resend_after_max_s=0.8)
    with Collecting(broker.port, NAME, acks=False) as collector:
        async with sending(tmp_path, broker.port, settings=settings) as gateway:
            times = []
            await gateway.keep(1)
            for count in range(1, 6):
                await until(partial(has_arrived, collector, count), f"sending {count}")
                times.append(time.monotonic())
    pauses = [b - a for a, b in pairwise(times)]
    assert pauses[0] == pytest.approx(0.2, abs=0.15)
    assert pauses[1] == pytest.approx(0.4, abs=0.2)
    assert pauses[3] == pytest.approx(0.8, abs=0.3), "the maximum"


@pytest.mark.asyncio
async def test_an_ack_ends_the_waiting_for_a_collector_that_was_away(
    tmp_path: Path, broker: Mosquitto
) -> None:
    settings = UplinkSection(resend_after_s=0.1, resend_after_max_s=600)
    with Collecting(broker.port, NAME, acks=False) as collector:
        async with sending(tmp_path, broker.port, settings=settings) as gateway:
            await gateway.keep(2)
            await until(lambda: len(collector.arrived) >= 12, "six times each")
            # From here on the next repetition is about 3 s away.
            collector.acks = True
            collector.ack({})
            await until(lambda: len(collector.arrived) >= 14, "sent again", deadline_s=2)
            await gateway.until_empty()


@pytest.mark.asyncio
async def test_acks_that_bring_nothing_do_not_have_it_sent_again_without_pause(
    tmp_path: Path, broker: Mosquitto
) -> None:
    """A collector whose reading store is away answers each repetition; it cannot say more."""
    settings = UplinkSection(resend_after_s=0.1, resend_after_max_s=600)
    with Collecting(broker.port, NAME, acks=False) as collector:
        collector.takes_nothing = True
        async with sending(tmp_path, broker.port, settings=settings) as gateway:
            await gateway.keep(1)
            await until(lambda: len(collector.arrived) >= 6, "sent, and answered, six times")
            began_s = time.monotonic()
            await until(lambda: len(collector.arrived) >= 8, "sent twice more")
            assert time.monotonic() - began_s > 1.8, "as slowly as if nobody had answered"
            collector.takes_nothing, collector.acks = False, True
            collector.take((epoch(1), 1))
            await gateway.until_empty()


@pytest.mark.asyncio
async def test_a_higher_generation_brings_everything_again(
    tmp_path: Path, broker: Mosquitto
) -> None:
    with Collecting(broker.port, NAME) as collector:
        async with sending(tmp_path, broker.port) as gateway:
            await gateway.keep(30)
            await gateway.until_empty()
            collector.forget()
            await until(lambda: len(set(collector.arrived)) == 30, "all of them again")
            await gateway.until_empty()
            await until(lambda: collector.statuses[-1].generation == 2, "the status says so")


@pytest.mark.asyncio
async def test_an_ack_that_cannot_be_read_is_left_aside(tmp_path: Path, broker: Mosquitto) -> None:
    with Collecting(broker.port, NAME, acks=False) as collector:
        collector.publish(b"{nonsense")
        async with sending(tmp_path, broker.port) as gateway:
            collector.acks = True
            await gateway.keep(2)
            await gateway.until_empty()


@pytest.mark.asyncio
@pytest.mark.timeout(120)
async def test_a_broker_that_forgets_everything_only_delays(
    tmp_path: Path, broker: Mosquitto
) -> None:
    with Collecting(broker.port, NAME) as collector:
        async with sending(tmp_path, broker.port) as gateway:
            for _ in range(3):
                await gateway.keep(40)
                broker.kill()
                await gateway.keep(10)
                broker.start()
            await gateway.until_empty()
    assert set(collector.arrived) == {(epoch(1), seq) for seq in range(1, 151)}


@pytest.mark.asyncio
async def test_a_new_connection_brings_what_is_not_acknowledged_at_once(
    tmp_path: Path, broker: Mosquitto
) -> None:
    settings = UplinkSection(resend_after_s=300)
    with Collecting(broker.port, NAME, acks=False) as collector:
        async with sending(tmp_path, broker.port, settings=settings) as gateway:
            await gateway.keep(2)
            await until(lambda: len(collector.arrived) == 2, "sent once")
            assert gateway.uplink._connection is not None
            gateway.uplink._connection.drop()
            await until(lambda: len(collector.arrived) == 4, "sent again", deadline_s=5)
    assert [seq for _, seq in collector.arrived] == [1, 2, 1, 2]


@pytest.mark.asyncio
async def test_a_broker_that_is_away_at_the_start_is_waited_for(tmp_path: Path) -> None:
    with Mosquitto() as broker:
        broker.kill()
        async with sending(tmp_path, broker.port) as gateway:
            await gateway.keep(1)
            await asyncio.sleep(0.5)
            broker.start()
            with Collecting(broker.port, NAME) as collector:
                await gateway.until_empty()
            assert set(collector.arrived) == {(epoch(1), 1)}


@pytest.mark.asyncio
async def test_a_broker_that_accepts_and_says_nothing_is_left_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.mqtt.CONNECT_TIMEOUT_S", 0.3)
    silent = left = 0

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal silent, left
        silent += 1
        await reader.read()
        writer.close()
        await writer.wait_closed()
        left += 1

    server = await asyncio.start_server(accept, "127.0.0.1", free_port())
    port = server.sockets[0].getsockname()[1]
    async with sending(tmp_path, port):
        await until(lambda: silent >= 2, "a second attempt")
    await until(lambda: left == silent, "every connection was closed")
    server.close()
    await server.wait_closed()


@pytest.mark.asyncio
async def test_a_broker_far_away_is_waited_for(tmp_path: Path, broker: Mosquitto) -> None:
    """A mobile network that answers after some seconds is slow, and not down."""
    one_way_s = 2.7

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while data := await reader.read(4096):
            loop.call_later(one_way_s, writer.write, data)
        writer.close()

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", broker.port)
        await asyncio.gather(pass_on(reader, back), pass_on(there, writer))

    server = await asyncio.start_server(join, "127.0.0.1", free_port())
    port = server.sockets[0].getsockname()[1]
    async with sending(tmp_path, port, keepalive_s=30) as gateway:
        await until(lambda: gateway.uplink.is_connected, "connected", 9)
    server.close()


@pytest.mark.asyncio
async def test_wrong_credentials_are_retried_without_haste(tmp_path: Path) -> None:
    with Mosquitto("allow_anonymous false") as broker:
        async with sending(tmp_path, broker.port) as gateway:
            await gateway.keep(1)
            await asyncio.sleep(1)
            assert await gateway.waiting() == 1
        assert broker.process.log_tail().count("not authorised") <= 5


class TestStatus:
    @pytest.mark.asyncio
    async def test_says_who_what_and_what_waits(self, tmp_path: Path, broker: Mosquitto) -> None:
        old = open_outbox(tmp_path, 7)
        old.append([scan_draft(-60)], at=at(-60))
        old.close()
        with Collecting(broker.port, NAME, acks=False) as collector:
            async with sending(tmp_path, broker.port, backlog=2):
                await until(lambda: bool(collector.statuses), "a status")
                status = collector.statuses[0]
        assert (status.online, status.station, status.version) == (True, NAME, "0.1")
        assert [(e.epoch, e.oldest, e.next) for e in status.epochs] == [
            (epoch(1), 1, 3),
            (epoch(7), 1, 2),
        ]
        assert status.outbox is not None
        assert (status.outbox.waiting, status.outbox.limit_bytes) == (3, 256 * MIB)
        assert (status.sent_at, status.started_at) == (at(0), at(0))
        assert (status.clock, status.generation, status.lines) == (ClockState.SYNCED, 0, LINES)

    @pytest.mark.asyncio
    async def test_is_retained_renewed_and_counted(self, tmp_path: Path, broker: Mosquitto) -> None:
        settings = UplinkSection(status_every_s=0.2)
        async with sending(tmp_path, broker.port, settings=settings):
            await asyncio.sleep(0.5)
            with Collecting(broker.port, NAME) as collector:
                await until(lambda: len(collector.statuses) >= 3, "renewed")
        counts = [status.count for status in collector.statuses if status.online]
        assert counts == list(range(counts[0], counts[0] + len(counts)))

    @pytest.mark.asyncio
    async def test_of_an_epoch_ends_when_all_of_it_is_delivered(
        self, tmp_path: Path, broker: Mosquitto
    ) -> None:
        old = open_outbox(tmp_path, 7)
        old.append([scan_draft(-60)], at=at(-60))
        old.close()
        with Collecting(broker.port, NAME) as collector:
            async with sending(tmp_path, broker.port):
                await until(
                    lambda: (
                        len(collector.statuses) > 1
                        and [e.epoch for e in collector.statuses[-1].epochs] == [epoch(1)]
                    ),
                    "only the current epoch is left",
                    deadline_s=5,
                )
                assert collector.statuses[-1].outbox is not None
                assert collector.statuses[-1].outbox.waiting == 0

    @pytest.mark.asyncio
    async def test_says_offline_at_an_orderly_end(self, tmp_path: Path, broker: Mosquitto) -> None:
        with Collecting(broker.port, NAME) as collector:
            async with sending(tmp_path, broker.port):
                await until(lambda: bool(collector.statuses), "online")
            await until(lambda: collector.statuses[-1] == Status(v=1, online=False), "offline")
        with Collecting(broker.port, NAME) as later:
            await until(lambda: later.statuses == [Status(v=1, online=False)], "retained")

    @pytest.mark.asyncio
    async def test_the_last_will_says_offline_and_no_more(
        self, tmp_path: Path, broker: Mosquitto
    ) -> None:
        with Collecting(broker.port, NAME) as collector:
            async with sending(tmp_path, broker.port) as gateway:
                await until(lambda: bool(collector.statuses), "online")
                connection = gateway.uplink._connection
                assert connection is not None
                connection.drop()  # no DISCONNECT: as if the line was cut
                await until(
                    lambda: Status(v=1, online=False) in collector.statuses, "the last will"
                )
                await until(lambda: collector.statuses[-1].online, "online again")


def make_certificates(folder: Path) -> None:
    """A CA, a server for 127.0.0.1 and a gateway, as PEM files in `folder`."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test CA")
    (folder / "san").write_text("subjectAltName=IP:127.0.0.1\n")
    for name, extra in (("server", ("-extfile", "san")), (NAME, ())):
        openssl(
            "req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}"
        )
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key"),
            *("-CAcreateserial", "-out", f"{name}.pem", "-days", "2", *extra),
        )


@pytest.mark.asyncio
async def test_both_sides_show_a_certificate_over_tls(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    plain = free_port()
    secure = (
        f"cafile {tmp_path}/ca.pem\ncertfile {tmp_path}/server.pem\nkeyfile {tmp_path}/server.key\n"
        f"require_certificate true\nuse_identity_as_username true\nlistener {plain} 127.0.0.1\n"
    )
    tls = Tls(tmp_path / "ca.pem", tmp_path / f"{NAME}.pem", tmp_path / f"{NAME}.key")
    with ExitStack() as stack:
        broker = stack.enter_context(Mosquitto(secure + "allow_anonymous true\n"))
        # The broker opens its listeners one after the other.
        await until(lambda: accepts_connections(plain), "the second listener")
        other = stack.enter_context(Collecting(plain, NAME))
        async with sending(tmp_path / "data", broker.port, tls=tls, backlog=60) as gateway:
            await gateway.until_empty()
            # A key that is being replaced costs a connection, and never the program.
            key = tls.key_file
            assert key is not None
            text = key.read_bytes()
            key.write_bytes(text[:40])
            connection = gateway.uplink._connection
            assert connection is not None
            connection.drop()
            await until(lambda: gateway.uplink._connection is not connection, "another attempt")
            await gateway.keep(1)
            key.write_bytes(text)
            await gateway.until_empty()
        assert len(set(other.arrived)) == 61
        async with sending(tmp_path / "none", broker.port, tls=Tls(tmp_path / "ca.pem")) as gateway:
            await gateway.keep(1)
            await asyncio.sleep(0.5)
            assert await gateway.waiting() == 1, "refused without a certificate"
