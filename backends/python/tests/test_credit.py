"""Credit for the client: streams do not hold each other up, and what waits is bounded."""

import asyncio
import gc
import random

import pytest
from fake import client_of, frame, run, scope, serving
from test_link import accepted, pretend

import sluice
from sluice.asgi import DATAGRAMS_KEPT, AsgiSession
from sluice.frame import Decoder
from sluice.intake import JOINED, Intake
from sluice.link import Link
from sluice.server import Server

BUSY = 20  # turns of the loop in which whoever can do something has done it


def credits(link, transport):
    """What has been credited since the last time: (stream_id or None, limit)."""
    link._flush()
    said = list(Decoder().feed(b"".join(transport.writes)))
    transport.writes.clear()
    assert all(message["type"] == "webtransport.credit" for message in said)
    return [(message.get("stream_id"), message["limit"]) for message in said]


def receive(stream_id, data, ended=False):
    return frame({"type": "webtransport.stream.receive", "stream_id": stream_id, "data": data, "stream_ended": ended})


# What is told.


@sluice.handler
async def accepts_with_a_window(session):
    await session.accept(receive_window=777)


async def asgi_accepts_with_a_window(scope, receive, send):
    await send({"type": "webtransport.accept", "receive_window": 777})


@sluice.handler
async def accepts(session):
    await session.accept()


async def asgi_accepts(scope, receive, send):
    await send({"type": "webtransport.accept", "receive_window": None})


@pytest.mark.parametrize(
    "app, options, window",
    [
        (accepts, {}, 256 << 10),
        (asgi_accepts, {}, 256 << 10),
        (accepts, {"receive_window": 5000}, 5000),
        (asgi_accepts, {"receive_window": 5000}, 5000),
        (accepts_with_a_window, {}, 777),
        (asgi_accepts_with_a_window, {}, 777),
    ],
)
def test_accept_tells_the_window_and_the_limit(app, options, window):
    async def main():
        async with serving(app, receive_limit=1 << 20, **options) as connect:
            s = await connect()
            await s.accepted()
            assert s.window == window
            await s.expect("close")
            assert s.limits == {None: 1 << 20}
            await s.over(by="app")

    run(main())


@pytest.mark.parametrize("window", [0, -1, 1 << 53, True, "1"])
def test_windows_that_are_none(window):
    async def main():
        link, transport = pretend()
        with pytest.raises((ValueError, TypeError)):
            await AsgiSession(link).send({"type": "webtransport.accept", "receive_window": window})
        assert not link.accepted and not transport.writes

    run(main())


@pytest.mark.parametrize("options", [{"receive_window": 0}, {"receive_window": 11, "receive_limit": 10}])
def test_a_servers_window_is_within_its_limit(options):
    with pytest.raises(ValueError, match="receive_window"):
        Server(accepts, bind="unix:/nowhere", **options)


def test_credit_follows_what_is_taken():
    """A quarter of the window at a time, and an eighth of the limit."""

    async def main():
        link, transport = accepted(receive_window=1000, receive_limit=100_000)
        link.data_received(receive(0, bytes(1000)))
        assert credits(link, transport) == []
        link.took(0, 249)
        assert credits(link, transport) == []
        link.took(0, 1)
        assert credits(link, transport) == [(0, 1250)]
        link.took(0, 750)
        assert credits(link, transport) == [(0, 2000)]
        for stream_id in range(4, 50, 4):
            link.data_received(receive(stream_id, bytes(1000)))
            link.took(stream_id, 1000)
        said = credits(link, transport)
        assert [c for c in said if c[0] is None] == [(None, 113_000)]  # after 13,000 of 100,000
        link.data_received(receive(0, b"", ended=True))
        link.took(0, 1000)  # it has ended: no more credit for it
        assert credits(link, transport) == []

    run(main())


def test_more_than_the_window_is_a_mistake_of_sluice(caplog):
    async def main():
        link, transport = accepted(receive_window=1000)
        link.data_received(receive(0, bytes(1000)))
        link.data_received(receive(0, bytes(1)))
        assert link.disconnected and transport.aborted
        assert "1001 bytes on stream 0, 1000 were allowed" in caplog.text

    run(main())


def test_more_than_the_limit_is_a_mistake_of_sluice(caplog):
    """A few early bytes apart, which it may have sent before it heard of the limit."""

    async def main():
        link, transport = accepted(receive_window=1_000_000, receive_limit=1_000_000)
        for stream_id in range(0, 4 * 17, 4):
            link.data_received(receive(stream_id, bytes(1_000_000)))
        assert link.disconnected is None
        link.data_received(receive(4 * 17, bytes(1_000_000)))
        assert link.disconnected and "on all streams" in caplog.text

    run(main())


@pytest.mark.parametrize("seed", range(20))
def test_the_bound_holds_and_nobody_starves(seed):
    """Any order of arriving and taking: never more than granted, and whoever has taken all may get more."""
    rng = random.Random(seed)
    print("seed", seed)
    window, limit = rng.choice([(1, 1), (10, 64), (1000, 5000), (16384, 65536), (1 << 18, 1 << 24)])

    async def main():
        link, transport = accepted(receive_window=window, receive_limit=limit)
        limits, sent, unread = {None: limit}, {}, {}
        link.data_received(b"".join(receive(4 * n, b"") for n in range(12)))
        for _ in range(3000):
            stream_id = 4 * rng.randrange(12)
            if rng.random() < 0.5:
                room = min(limits.get(stream_id, window) - sent.get(stream_id, 0), limits[None] - sum(sent.values()))
                size = min(room, rng.choice([1, 7, window // 3 + 1, window, 4 * window]), 1 << 19)
                if size > 0:
                    link.data_received(receive(stream_id, bytes(size)))
                    sent[stream_id] = sent.get(stream_id, 0) + size
                    unread[stream_id] = unread.get(stream_id, 0) + size
            elif unread.get(stream_id):
                size = min(unread[stream_id], rng.choice([1, 7, window // 3 + 1, window]))
                link.took(stream_id, size)
                unread[stream_id] -= size
            limits.update(credits(link, transport))
            assert not transport.paused and link.disconnected is None
            assert link._intake.unread == sum(unread.values()) <= limit
            assert all(size <= window for size in unread.values())
            for each, size in unread.items():
                assert size or limits.get(each, window) > sent[each], "a stream without anything to read, nor credit"
            full = limit - sum(unread.values()) < 2048  # so little is not worth a message
            assert full or limits[None] > sum(sent.values()), "room, but no credit"

    run(main())


# Streams do not hold each other up: receiving.


@sluice.handler
async def lazy(session):
    """Reads only streams that say so: unidirectional ones are kept, unread."""
    await session.accept()
    kept = []
    async for stream in session.streams:
        if stream.writable:
            session.start(echo(stream))
        else:
            kept.append(stream)


async def echo(stream):
    async with stream:
        async for data in stream:
            await stream.write(data)


def test_fifty_streams_that_nobody_reads_cost_a_window_each():
    async def main():
        async with serving(lazy) as connect:
            client = await client_of(connect)
            (link,) = connect.server._links
            lazy_ones = range(2, 202, 4)
            for stream_id in lazy_ones:
                await client.fill(stream_id)
            await client.send(0, 20_000_000, end=True)  # the others go on
            await client.until(lambda: 0 in client.ended)
            assert client.got[0] == 20_000_000
            assert link._intake.unread == 50 * client.fake.window and link._transport.is_reading()
            assert all(client.room(stream_id) == 0 for stream_id in lazy_ones)
            await client.over(by="client")

    run(main())


def test_streams_that_fill_the_limit_slow_down_the_others():
    """What is left of the limit is used, in smaller pieces."""

    async def main():
        async with serving(lazy, receive_window=10_000, receive_limit=100_000) as connect:
            client = await client_of(connect)
            for stream_id in range(2, 38, 4):
                await client.fill(stream_id)
            await client.send(0, 500_000, end=True)  # through 10,000 bytes
            await client.until(lambda: 0 in client.ended)
            assert client.got[0] == 500_000
            client.fake.close()

    run(main())


def test_what_is_stopped_dropped_or_forgotten_is_given_back():
    """Streams that are not read to their end leave the limit as they found it."""

    @sluice.handler
    async def app(session):
        await session.accept()
        n = 0
        async for stream in session.streams:
            await stream.read(10)
            if n % 4 == 0:
                stream.stop(5)
            elif n % 4 == 1:
                async with stream:
                    pass
            elif n % 4 == 2:
                with pytest.raises(asyncio.IncompleteReadError):  # it ends before
                    await stream.readexactly(10**9)
            n += 1
            del stream  # and every fourth is forgotten
            gc.collect()
            await session.send_datagram(b"%d" % n)

    async def main():
        async with serving(app, receive_window=10_000, receive_limit=30_000) as connect:
            client = await client_of(connect)
            (link,) = connect.server._links
            stream_id, sent = 2, 0
            for n in range(100):
                await client.send(stream_id, 6000, piece=5000, end=n % 4 == 2 or n % 8 == 1)
                while (await client.answer())["type"] != "datagram.send":
                    pass  # a stop
                client.fake.stream(stream_id, bytes(2000))  # was on its way
                client.all_sent += 2000
                sent += 8000
                stream_id += 4
            client.fake.say("datagram.receive")
            while link._intake.received < sent:
                await asyncio.sleep(0)
            for _ in range(BUSY):
                await asyncio.sleep(0)
            assert link._intake.unread == 0
            client.fake.close()

    gc.freeze()  # or each collection looks at all there is, a hundred times
    try:
        run(main())
    finally:
        gc.unfreeze()


def test_what_the_client_gave_up_is_dropped():
    """Even if nobody reads the stream, and so nobody hears of the reset."""

    @sluice.handler
    async def app(session):
        await session.accept()
        stream = await session.accept_stream()
        await session.receive_datagram()
        with pytest.raises(sluice.StreamReset):
            await stream.read()
        await session.close(5)

    async def main():
        async with serving(app, receive_window=10_000, receive_limit=10_000) as connect:
            client = await client_of(connect)
            await client.fill(2)
            client.fake.say("stream.reset", stream_id=2, code=1)
            await client.until(lambda: client.fake.limits[None] == 20_000)
            client.fake.say("datagram.receive")
            assert (await client.answer())["code"] == 5
            await client.over(by="app")

    run(main())


def test_many_small_pieces_are_joined():
    async def main():
        link = Link(sluice.Session)
        transport = pretend()[1]
        link.connection_made(transport)
        link.data_received(frame(scope()))
        session = link._receiver
        await session.accept()
        for _ in range(100_000):
            link.data_received(receive(0, b"x"))
        stream = await session.accept_stream()
        assert len(stream._unread._pieces) < 100_000 // JOINED * 2 + 2
        assert await stream.read(5) == b"x" * 5
        assert await stream.readexactly(50_000) == b"x" * 50_000
        link.data_received(receive(0, b"y", ended=True))
        assert await stream.read() == b"x" * 49_995 + b"y"
        assert link._intake.unread == 0

    run(main())


def test_many_small_pieces_are_joined_for_asgi():
    async def main():
        link, transport = accepted(AsgiSession)
        app = link._receiver
        for _ in range(50_000):
            link.data_received(receive(0, b"x") + receive(4, b"y"))
        link.data_received(receive(0, b"", ended=True))
        assert link._intake.items < 30
        got = {0: b"", 4: b""}
        assert (await app.receive())["type"] == "webtransport.connect"
        while link._intake.items:
            message = await app.receive()
            got[message["stream_id"]] += message["data"]
        assert message["stream_id"] == 4 or message["stream_ended"]
        assert got == {0: b"x" * 50_000, 4: b"y" * 50_000} and link._intake.unread == 0 and not app._last

    run(main())


def test_asgi_credit_follows_receive():
    async def main():
        link, transport = accepted(AsgiSession, receive_window=1000)
        app = link._receiver
        link.data_received(receive(0, bytes(1000)))
        assert (await app.receive())["type"] == "webtransport.connect" and credits(link, transport) == []
        assert len((await app.receive())["data"]) == 1000 and credits(link, transport) == [(0, 2000)]

    run(main())


# What has no bytes.


def test_empty_streams_stop_the_socket_while_nobody_waits():
    async def main():
        link, transport = accepted(AsgiSession)
        app = link._receiver
        await app.receive()
        stream_id = 2
        while not transport.paused:
            link.data_received(receive(stream_id, b"", ended=True))
            stream_id += 4
        assert link._intake.items == 4096
        sending = asyncio.create_task(link.send(1, bytes(5000)))  # more than its window
        await asyncio.sleep(0)
        assert not transport.paused  # its credit comes on the socket
        link.data_received(frame({"type": "webtransport.credit", "stream_id": 1, "limit": 5000}))
        assert await sending
        assert transport.paused
        while transport.paused:
            await app.receive()
        assert link._intake.items == 2047  # not for every single one
        while link._intake.items:
            await app.receive()
        assert not transport.paused

    run(main())


def test_empty_streams_without_end_close_the_session(caplog):
    """One is being read, the others are never accepted: nothing but an end is left."""

    async def main():
        link = Link(sluice.Session)
        transport = pretend()[1]
        link.connection_made(transport)
        link.data_received(frame(scope()))
        session = link._receiver
        await session.accept()
        link.data_received(receive(0, b"x"))
        reading = asyncio.create_task((await session.accept_stream()).read())
        await asyncio.sleep(0)
        stream_id = 2
        while not link.ending:
            assert not transport.paused
            link.data_received(receive(stream_id, b"", ended=True))
            stream_id += 4
        assert stream_id // 4 == 16385 and "leaves too much" in caplog.text
        link._flush()
        assert b"webtransport.close" in transport.writes[-1] and not transport.paused
        link.data_received(frame({"type": "webtransport.disconnect", "code": 500, "by": "app", "clean": True}))
        with pytest.raises(sluice.SessionClosed):
            await reading

    run(main())


def test_asgi_keeps_the_newest_datagrams():
    async def main():
        link, transport = accepted(AsgiSession)
        app = link._receiver
        await app.receive()
        for n in range(100_000):
            link.data_received(frame({"type": "webtransport.datagram.receive", "data": b"%d" % n}))
        link.data_received(receive(0, b"behind them"))
        got = [(await app.receive())["data"] for _ in range(DATAGRAMS_KEPT)]
        assert got == [b"%d" % n for n in range(100_000 - DATAGRAMS_KEPT, 100_000)]
        assert (await app.receive())["data"] == b"behind them" and link._intake.items == 0

    run(main())


# There and back.


async def asgi_echo(scope, receive, send):
    await send({"type": "webtransport.accept"})
    while (message := await receive())["type"] != "webtransport.disconnect":
        if message["type"] == "webtransport.stream.receive":
            said = {"stream_id": message["stream_id"], "data": message["data"], "end_stream": message["stream_ended"]}
            await send({"type": "webtransport.stream.send", **said})


@pytest.mark.parametrize("app", [lazy, asgi_echo], ids=["session", "asgi"])
def test_echo_of_much_through_small_windows(app, tmp_path):
    async def main():
        async with serving(app, tmp_path, receive_window=16_384, receive_limit=65_536) as connect:
            client = await client_of(connect, 16_384, 65_536)
            streams = range(0, 40, 4)
            await asyncio.gather(*[client.send(stream_id, 6_000_000, end=True) for stream_id in streams])
            await client.until(lambda: len(client.ended) == 10)
            assert [client.got[stream_id] for stream_id in streams] == [6_000_000] * 10
            (link,) = connect.server._links
            assert link._intake.unread == 0
            client.fake.close()

    run(main())


def test_cancelled_reads_lose_nothing():
    """A read that has begun may be cancelled: the next one gets what it had taken, the client its credit."""

    async def main():
        async with serving(sluice.handler(session_of_reads)) as connect:
            client = await client_of(connect)
            await client.send(0, 1_000_000)
            await client.until(lambda: client.got.get(0) == 3 and client.room(0) > client.fake.window * 3 // 4)
            (link,) = connect.server._links
            assert link._intake.unread == 0
            client.fake.close()

    async def session_of_reads(session):
        await session.accept()
        stream = await session.accept_stream()
        for read in (stream.readexactly(2_000_000), stream.read()):
            task = asyncio.create_task(read)
            while session._link._intake.taken < 1_000_000:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert await stream.read(1) == b"\0"
        assert len(await stream.readexactly(900_000)) == 900_000
        assert len(await stream.read(1 << 20)) == 99_999
        await stream.write(b"end")
        await session.wait_closed()

    run(main())


def test_cancelled_writes_give_the_stream_free():
    @sluice.handler
    async def app(session):
        await session.accept()
        stream = await session.open_uni()
        writes = [asyncio.create_task(stream.write(bytes(5000))) for _ in range(3)]
        async for _ in session.datagrams:
            for task in writes:
                task.cancel()
            await asyncio.wait(writes)
            assert all(task.cancelled() for task in writes)
            await stream.end(b"last")

    async def main():
        async with serving(app) as connect:
            s = await connect()
            await s.accepted(stream_window=1000, session_window=1500)
            await s.expect("stream.send", stream_id=3, data=b"")
            await s.expect("stream.send", stream_id=3, data=bytes(1000))
            s.say("datagram.receive", data=b"")
            s.say("credit", stream_id=3, limit=2000)
            assert (await s.expect("stream.send", stream_id=3, end_stream=True))["data"] == b"last"
            await s.over()

    run(main())


def test_a_task_cancelled_in_the_middle_resets_and_gives_back():
    @sluice.handler
    async def app(session):
        await session.accept()
        stream = await session.accept_stream()
        task = session.start(echo(stream))
        del stream
        async for _ in session.datagrams:
            task.cancel()

    async def main():
        async with serving(app, receive_window=10_000, receive_limit=20_000) as connect:
            client = await client_of(connect, 5000, 5000)
            client.stuck.add(0)
            await client.fill(0)
            await client.until(lambda: client.got.get(0) == 5000)
            (link,) = connect.server._links
            client.fake.say("datagram.receive")
            kinds = {(await client.answer())["type"], (await client.answer())["type"]}
            assert kinds == {"stream.stop", "stream.reset"}
            assert link._intake.unread == 0
            client.fake.close()

    run(main())


def test_an_intake_after_its_end_is_not_bounded():
    said = []
    intake = Intake(10, lambda *credit: said.append(credit), said.append, lambda: said.append("burst"))
    intake.begin(10)
    intake.close()
    for _ in range(100_000):
        intake.keep()
    intake.took(None, 5)
    assert said == [(None, 10)]
