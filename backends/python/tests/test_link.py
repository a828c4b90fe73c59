"""What is sent: credit, order, and one write per turn."""

import asyncio
import os
import stat

import pytest
from fake import Client, frame, run, scope, serving

import sluice
from sluice.link import Limits, Link


class PretendTransport(asyncio.Transport):
    def __init__(self):
        super().__init__()
        self.writes, self.paused, self.aborted = [], False, False

    def write(self, data):
        self.writes.append(bytes(data))

    def pause_reading(self):
        assert not self.paused
        self.paused = True

    def resume_reading(self):
        assert self.paused
        self.paused = False

    def is_closing(self):
        return self.aborted

    def abort(self):
        self.aborted = True


class Collector:
    def __init__(self, link):
        self.link, self.messages = link, []

    def message(self, message):
        self.messages.append(message)


def pretend(limits=None, **changes):
    """A link without a socket, its scope received."""
    link = Link(Collector, limits)
    link.connection_made(PretendTransport())
    link.data_received(frame(scope(**changes)))
    return link, link._transport


def accepted(receiver=Collector, **limits):
    """A link without a socket, its session accepted; and what it has written since."""
    link, transport = pretend(Limits(**limits))
    if receiver is not Collector:
        link._receiver = receiver(link)
    link.accept({"type": "webtransport.accept"})
    link._flush()
    transport.writes.clear()
    return link, transport


def test_one_write_per_turn():
    async def main():
        link, transport = pretend()
        link.accept({"type": "webtransport.accept"})
        await link.send(1, b"hello")
        await link.send(3, b"x", end=True)
        link.finish({"type": "webtransport.close"})
        assert transport.writes == []
        await asyncio.sleep(0)
        assert len(transport.writes) == 1 and transport.writes[0].count(b"webtransport.") == 5  # one is credit

    run(main())


def test_answer_and_close_arrive_together():
    """The same through sockets: the first read has all of it."""

    async def app(scope, receive, send):
        await send({"type": "webtransport.accept"})
        await send({"type": "webtransport.stream.send", "stream_id": 1, "data": b"hi", "end_stream": True})
        await send({"type": "webtransport.close", "code": 1})

    async def main():
        async with serving(app) as connect:
            s = await connect()
            s.scope()
            data = await s.reader.read(65536)
            assert data.count(b"webtransport.") == 4  # one is credit

    run(main())


def test_whoever_sends_without_end_lets_others_run():
    async def main():
        link, transport = pretend()
        link.accept({"type": "webtransport.accept"})
        other = asyncio.create_task(asyncio.sleep(0, "ran"))
        while not other.done():
            link.command({"type": "webtransport.datagram.send", "data": bytes(1000)})
            await link.flow()
        assert max(map(len, transport.writes)) < 100_000

    run(main())


def test_credit_of_one_stream_holds_up_that_stream_only():
    @sluice.handler
    async def app(session):
        await session.accept()
        stuck, free = await session.open_uni(), await session.open_uni()
        session.start(stuck.write(b"s" * 2500))
        async for n in session.datagrams:
            await free.write(b"f" * int(n))

    async def main():
        async with serving(app) as connect:
            s = await connect()
            await s.accepted(stream_window=1000, session_window=10_000)
            await s.expect("stream.send", stream_id=3, data=b"")
            await s.expect("stream.send", stream_id=7, data=b"")
            await s.expect("stream.send", stream_id=3, data=b"s" * 1000)
            s.say("datagram.receive", data=b"1000")
            await s.expect("stream.send", stream_id=7, data=b"f" * 1000)
            s.say("credit", stream_id=3, limit=900)  # lower: nothing
            s.say("credit", stream_id=7, limit=2000)
            s.say("datagram.receive", data=b"10")
            await s.expect("stream.send", stream_id=7, data=b"f" * 10)
            s.say("credit", stream_id=3, limit=2200)
            await s.expect("stream.send", stream_id=3, data=b"s" * 1200)
            s.say("credit", stream_id=3, limit=5000)
            await s.expect("stream.send", stream_id=3, data=b"s" * 300)
            await s.over()

    run(main())


def test_credit_of_the_session():
    @sluice.handler
    async def app(session):
        await session.accept()
        first, second = await session.open_uni(), await session.open_uni()
        await asyncio.gather(first.end(b"1" * 1000), second.end(b"2" * 1000))
        third = await session.open_uni()  # opening and ending need none
        await third.end()
        await session.close()

    async def main():
        async with serving(app) as connect:
            s = await connect()
            await s.accepted(stream_window=1000, session_window=1500)
            await s.expect("stream.send", stream_id=3, data=b"")
            await s.expect("stream.send", stream_id=7, data=b"")
            await s.expect("stream.send", stream_id=3, data=b"1" * 1000, end_stream=True)
            await s.expect("stream.send", stream_id=7, data=b"2" * 500)
            s.say("credit", limit=1600)
            await s.expect("stream.send", stream_id=7, data=b"2" * 100)
            s.say("credit", limit=2000)
            await s.expect("stream.send", stream_id=7, data=b"2" * 400, end_stream=True)
            await s.expect("stream.send", stream_id=11, data=b"")
            await s.expect("stream.send", stream_id=11, data=b"", end_stream=True)
            await s.expect("close")
            await s.over(by="app")

    run(main())


def test_a_new_stream_is_opened_even_without_credit():
    """Its id is used in order, whoever sends next."""

    async def main():
        link, transport = pretend(session_window=0)
        link.accept({"type": "webtransport.accept"})
        waiting = asyncio.create_task(link.send(1, b"x"))
        await asyncio.sleep(0)
        assert await link.send(5, b"")
        waiting.cancel()

    run(main())


def test_long_data_is_cut_at_the_frame_limit():
    async def main():
        link, transport = pretend(stream_window=10**7, session_window=10**7)
        link.accept({"type": "webtransport.accept"})
        await link.send(1, bytes(3 << 20))
        await asyncio.sleep(0)
        assert all(len(w) < (1 << 20) + 100 for w in transport.writes)
        assert sum(map(len, transport.writes)) > 3 << 20

    run(main())


def test_two_sends_on_a_stream_do_not_mix():
    @sluice.handler
    async def app(session):
        await session.accept()
        stream = await session.open_uni()
        await asyncio.gather(stream.write(b"a" * 1500), stream.write(b"b" * 1500))
        await session.close()

    async def main():
        async with serving(app) as connect:
            s = await connect()
            await s.accepted()
            got = b""
            while (message := await s.hear())["type"] == "stream.send":
                got += message["data"]
                s.say("credit", stream_id=3, limit=len(got) + 400)
            assert got == b"a" * 1500 + b"b" * 1500
            await s.over(by="app")

    run(main())


def test_one_stuck_stream_and_ninety_nine_at_full_speed():
    @sluice.handler
    async def app(session):
        await session.accept()
        stuck = await session.open_uni()
        writing = session.start(stuck.write(bytes(10**7)))

        async def send(stream):
            for _ in range(10):
                await stream.write(bytes(20_000))
            await stream.end()

        await asyncio.gather(*[send(await session.open_uni()) for _ in range(99)])
        assert not writing.done()
        await session.close(99, "still works")

    async def main():
        async with serving(app) as connect:
            fake = await connect()
            await fake.accepted(stream_window=16_384, session_window=65_536)
            client = Client(fake, 16_384, 65_536)
            client.stuck.add(3)
            assert await client.answer() == {"type": "close", "code": 99, "reason": "still works"}
            assert client.got[3] == 16_384 and len(client.ended) == 99
            assert all(client.got[stream_id] == 200_000 for stream_id in client.ended)
            await client.over(by="app")

    run(main())


def test_streams_that_wait_for_the_session_take_turns():
    async def main():
        link, transport = accepted()
        link._limit = 0
        sends = [asyncio.create_task(link.send(stream_id, bytes(1000))) for stream_id in range(1, 41, 4)]
        await asyncio.sleep(0)
        for limit in range(100, 10_001, 100):
            link.data_received(frame({"type": "webtransport.credit", "limit": limit}))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            sent = [state.sent for state in link._streams.open.values()]
            assert max(sent) - min(sent) <= 100
        assert await asyncio.gather(*sends) == [True] * 10

    run(main())


@pytest.mark.parametrize("how", ["cancelled", "stopped", "reset", "its turn"])
def test_whoever_leaves_the_line_lets_the_next_one_go(how):
    """However the first one leaves it, and although it has been woken already."""

    async def main():
        link, transport = accepted()
        link._limit = 0
        first, second = (asyncio.create_task(link.send(stream_id, b"12345")) for stream_id in (1, 5))
        await asyncio.sleep(0)
        link.data_received(frame({"type": "webtransport.credit", "limit": 5}))
        if how == "cancelled":
            first.cancel()
        elif how == "stopped":
            link.data_received(frame({"type": "webtransport.stream.stop", "stream_id": 1}))
        elif how == "reset":
            link.reset(1)
        else:
            link.data_received(frame({"type": "webtransport.credit", "limit": 10}))
        assert await second
        assert first.cancelled() if how == "cancelled" else await first is (how == "its turn")
        assert not link._line

    run(main())


def test_a_stream_without_credit_of_its_own_does_not_stand_in_line():
    async def main():
        link, transport = accepted()
        stuck = asyncio.create_task(link.send(1, bytes(1500)))  # its window is 1,000
        await asyncio.sleep(0)
        assert not link._line
        link._limit = link._sent
        free = asyncio.create_task(link.send(5, b"12345"))
        await asyncio.sleep(0)
        link.data_received(frame({"type": "webtransport.credit", "limit": link._sent + 5}))
        assert await free and not stuck.done()
        stuck.cancel()

    run(main())


def test_unix_socket(tmp_path):
    async def main():
        path = tmp_path / "app.sock"
        async with serving(lambda *_: None, tmp_path, socket_mode=0o600):
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert not path.exists()
        async with serving(lambda *_: None, tmp_path):
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o660

    run(main())
