"""The session API against a pretended Sluice."""

import asyncio
import gc
import logging

import pytest
from fake import run, serving

import sluice


def with_handler(function, play, **options):
    async def main():
        async with serving(sluice.handler(function), **options) as connect:
            await play(await connect())

    run(main())


def test_what_the_client_asked_for():
    async def handler(session):
        assert session.path == "/webtransport" and session.query_string == b"a=1"
        assert session.headers == [(b"host", b"localhost:4433"), (b"x", b"1"), (b"x", b"2")]
        assert session.client == ("127.0.0.1", 50000)
        assert session.subprotocols == ["chat", "chat2"]
        assert session.max_datagram_size == 1200 and session.closed is None
        await session.accept(status=202, headers=[("a", "1"), (b"a", b"2")], subprotocol="chat2")
        await session.close(9, "why", after_delivery=True)

    async def play(s):
        s.scope()
        await s.expect("accept", status=202, headers=[[b"a", b"1"], [b"a", b"2"]], subprotocol="chat2")
        await s.expect("close", code=9, reason="why", after_delivery=True)
        await s.over(by="app")

    with_handler(handler, play)


def test_reject():
    async def handler(session):
        await session.reject(404, headers=[("a", "b")], body="not here")
        with pytest.raises(sluice.SessionClosed):
            await session.accept()

    async def play(s):
        s.scope()
        await s.expect("reject", status=404, headers=[[b"a", b"b"]], body=b"not here")
        await s.over(by="app")

    with_handler(handler, play)


def test_echo_example():
    from echo import app

    async def main():
        async with serving(app) as connect:
            s = await connect()
            await s.accepted()
            s.stream(0, b"bidi")
            await s.expect("stream.send", stream_id=0, data=b"bidi")
            s.stream(0, b"", ended=True)
            await s.expect("stream.send", stream_id=0, data=b"", end_stream=True)
            s.stream(2, b"uni", ended=True)
            await s.expect("stream.send", stream_id=3, data=b"")
            await s.expect("stream.send", stream_id=3, data=b"uni")
            await s.expect("stream.send", stream_id=3, data=b"", end_stream=True)
            s.say("datagram.receive", data=b"d")
            await s.expect("datagram.send", data=b"d")
            s.stream(4, b"part")
            await s.expect("stream.send", stream_id=4, data=b"part")
            s.say("stream.reset", stream_id=4, code=6)
            await s.expect("stream.reset", stream_id=4, code=0)  # a part is not taken for the whole
            await s.over()

    run(main())


def test_chat_example():
    from chat import app

    async def main():
        async with serving(app) as connect:
            ann, bob = await connect(), await connect()
            for s, name in ((ann, "ann"), (bob, "bob")):
                await s.accepted(path=f"/{name}")
                s.stream(0, b"")
                await s.expect("stream.send", data=f"{name} is here\n".encode())
            await ann.expect("stream.send", data=b"bob is here\n")
            bob.stream(0, b"hel")
            bob.stream(0, b"lo\n")
            for s in (ann, bob):
                await s.expect("stream.send", data=b"bob: hello\n")
            await bob.over()
            await ann.expect("stream.send", data=b"bob has left\n")
            nobody = await connect()
            nobody.scope(path="/")
            await nobody.expect("reject", status=404)
            await nobody.over(by="app")
            await ann.over()

    run(main())


def test_reading():
    async def handler(session):
        await session.accept()
        stream = await session.accept_stream()
        assert await stream.readexactly(5) == b"abcde"
        assert await stream.read(2) == b"fg"
        assert await stream.read(100) == b"h"
        await stream.write(b"more")
        with pytest.raises(asyncio.IncompleteReadError) as incomplete:
            await stream.readexactly(10)
        assert incomplete.value.partial == b"ij"
        assert await stream.read(1) == b"" and await stream.read() == b""
        stream = await session.accept_stream()
        assert await stream.read() == b"all of it"
        stream = await session.accept_stream()
        assert [chunk async for chunk in stream] == [b"1" * 9000, b"22"]
        await session.close(1)

    async def play(s):
        await s.accepted()
        s.stream(0, b"abc")
        s.stream(0, b"defgh")
        await s.expect("stream.send", data=b"more")
        s.stream(0, b"ij", ended=True)
        s.stream(2)
        for part in (b"all ", b"of ", b"it"):
            s.stream(2, part)
        s.stream(2, ended=True)
        s.stream(4, b"1" * 9000)
        s.stream(4, b"22", ended=True)
        await s.expect("close", code=1)
        await s.over(by="app")

    with_handler(handler, play)


def test_reset_and_stop_by_the_client():
    async def handler(session):
        await session.accept()
        stream = await session.accept_stream()
        assert await stream.read(10) == b"x"
        await stream.write(b"got it")
        with pytest.raises(sluice.StreamReset) as reset:
            await stream.read(10)
        assert reset.value.code == 11
        await stream.write(b"mine goes on")
        with pytest.raises(sluice.StreamStopped) as stopped:
            while True:
                await stream.write(b"y" * 600)  # the second one waits for credit
        assert stopped.value.code == 12
        with pytest.raises(sluice.StreamStopped):
            await stream.end()
        await session.close()

    async def play(s):
        await s.accepted()
        s.stream(0, b"x")
        await s.expect("stream.send", data=b"got it")
        s.say("stream.reset", stream_id=0, code=11)
        await s.expect("stream.send", data=b"mine goes on")
        await s.expect("stream.send", data=b"y" * 600)
        await s.expect("stream.send", data=b"y" * (400 - 12 - 6))
        s.say("stream.stop", stream_id=0, code=12)
        await s.expect("close")
        await s.over(by="app")

    with_handler(handler, play)


def test_reset_and_stop_by_the_application():
    async def handler(session):
        await session.accept()
        stream = await session.accept_stream()
        stream.reset(21)
        stream.reset(21)
        stream.stop(22)
        stream.stop(22)
        assert await stream.read() == b""
        with pytest.raises(ValueError):
            await stream.write(b"x")
        uni = await session.open_uni()
        with pytest.raises(ValueError):
            await uni.read()
        await uni.end(b"done")
        uni.reset(23)  # after its end: until all has arrived
        incoming = await session.accept_stream()
        with pytest.raises(ValueError):
            await incoming.write(b"x")
        with pytest.raises(ValueError):
            incoming.reset()
        assert await incoming.read() == b""
        await session.close()

    async def play(s):
        await s.accepted()
        s.stream(0, b"x")
        s.stream(2, ended=True)
        await s.expect("stream.reset", stream_id=0, code=21)
        await s.expect("stream.stop", stream_id=0, code=22)
        await s.expect("stream.send", stream_id=3, data=b"")
        await s.expect("stream.send", stream_id=3, data=b"done", end_stream=True)
        await s.expect("stream.reset", stream_id=3, code=23)
        await s.expect("close")
        await s.over(by="app")

    with_handler(handler, play)


def test_open_priority_and_confirm():
    async def handler(session):
        await session.accept()
        first, second = await session.open_bidi(), await session.open_bidi()
        assert (first.id, second.id) == (1, 5)
        second.priority(-7)
        await first.end(b"last", confirm=True)
        await second.write("text")
        assert await second.read() == b"answer"
        with pytest.raises(sluice.StreamStopped):
            await second.end(confirm=True)
        await session.close()

    async def play(s):
        await s.accepted()
        await s.expect("stream.send", stream_id=1, data=b"")
        await s.expect("stream.send", stream_id=5, data=b"")
        await s.expect("stream.priority", stream_id=5, send_order=-7)
        await s.expect("stream.send", stream_id=1, data=b"last", end_stream=True, confirm=True)
        s.say("stream.delivered", stream_id=1)
        await s.expect("stream.send", stream_id=5, data=b"text")
        s.stream(5, b"answer", ended=True)
        await s.expect("stream.send", stream_id=5, end_stream=True, confirm=True)
        s.say("stream.stop", stream_id=5, code=1)
        await s.expect("close")
        await s.over(by="app")

    with_handler(handler, play)


def test_too_many_streams():
    async def handler(session):
        await session.accept()
        stream = await session.open_bidi()
        with pytest.raises(sluice.StreamError, match="too many"):
            await stream.read()
        await session.close()

    async def play(s):
        await s.accepted()
        await s.expect("stream.send", stream_id=1)
        s.say("error", code="too_many_streams", message="no", stream_id=1)
        await s.expect("close")
        await s.over(by="app")

    with_handler(handler, play)


def test_datagrams():
    async def handler(session):
        await session.accept()
        assert await session.receive_datagram() == b""
        async for data in session.datagrams:
            await session.send_datagram(data + b"!")
            if data == b"last":
                break
        assert session.max_datagram_size == 1000
        await session.send_datagram("text")
        await session.close()

    async def play(s):
        await s.accepted()
        s.say("datagram.limit", max_size=1000)
        for data in (b"", b"1", b"last"):
            s.say("datagram.receive", data=data)
        await s.expect("datagram.send", data=b"1!")
        await s.expect("datagram.send", data=b"last!")
        await s.expect("datagram.send", data=b"text")
        await s.expect("close")
        await s.over(by="app")

    with_handler(handler, play)


def test_datagrams_nobody_reads_are_dropped_oldest_first():
    async def handler(session):
        await session.accept()
        stream = await session.accept_stream()  # comes after the datagrams
        assert session.datagrams_dropped == 44
        assert await session.receive_datagram() == b"44"
        await session.close()
        del stream

    async def play(s):
        await s.accepted()
        for n in range(300):
            s.say("datagram.receive", data=b"%d" % n)
        s.stream(2, ended=True)
        await s.expect("close")
        await s.over(by="app")

    with_handler(handler, play)


def test_the_end_of_the_session_ends_everything_that_waits():
    seen = {}

    async def handler(session):
        await session.accept()
        stream = await session.accept_stream()

        async def note(name, work):
            try:
                seen[name] = await work
            except sluice.SessionClosed as error:
                seen[name] = error

        async def each(iterator):
            return [item async for item in iterator]

        await asyncio.gather(
            note("read", stream.read()),
            note("write", stream.write(b"x" * 2000)),
            note("streams", each(session.streams)),
            note("datagram", session.receive_datagram()),
            note("draining", session.draining()),
            note("closed", session.wait_closed()),
        )
        with pytest.raises(sluice.SessionClosed):
            await session.open_bidi()
        await session.close()  # nothing left to do
        seen["info"] = session.closed

    async def play(s):
        await s.accepted()
        s.stream(0, b"")
        await s.expect("stream.send", data=b"x" * 1000)
        await s.over(code=5, reason="enough", clean=True, by="client")

    with_handler(handler, play)
    info = sluice.CloseInfo(5, "enough", True, "client")
    assert seen["streams"] == [] and seen["closed"] == seen["info"] == info
    for name in ("read", "write", "datagram", "draining"):
        assert seen[name].info == info and isinstance(seen[name], OSError)


def test_received_data_can_be_read_after_the_end():
    seen = []

    async def handler(session):
        await session.accept()
        stream = await session.accept_stream()
        await session.wait_closed()
        seen.append(await stream.read())

    async def play(s):
        await s.accepted()
        s.stream(0, b"whole", ended=True)
        await s.over()

    with_handler(handler, play)
    assert seen == [b"whole"]


def test_drain():
    seen = []

    async def handler(session):
        await session.accept()
        seen.append(await session.draining())
        await session.drain()
        await session.abort()

    async def play(s):
        await s.accepted()
        s.say("drain", reason="shutdown", deadline_ms=3000)
        await s.expect("drain")
        await s.expect("abort")
        await s.over(by="app", clean=False)

    with_handler(handler, play)
    assert seen == [sluice.Drain("shutdown", 3000)]


def test_async_with_ends_or_resets():
    async def handler(session):
        await session.accept()
        async with await session.open_bidi() as stream:
            await stream.write(b"1")
        with pytest.raises(ZeroDivisionError):
            async with await session.open_uni() as stream:
                await stream.write(b"2")
                raise ZeroDivisionError
        await session.close()

    async def play(s):
        await s.accepted()
        await s.expect("stream.send", stream_id=1, data=b"")
        await s.expect("stream.send", stream_id=1, data=b"1")
        await s.expect("stream.stop", stream_id=1)
        await s.expect("stream.send", stream_id=1, data=b"", end_stream=True)
        await s.expect("stream.send", stream_id=3, data=b"")
        await s.expect("stream.send", stream_id=3, data=b"2")
        await s.expect("stream.reset", stream_id=3)
        await s.expect("close")
        await s.over(by="app")

    with_handler(handler, play)


def test_a_forgotten_stream_is_cleaned_up(caplog):
    async def handler(session):
        await session.accept()
        await session.accept_stream()
        gc.collect()
        await session.receive_datagram()
        await session.close()

    async def play(s):
        await s.accepted()
        s.stream(0, b"x" * 100)
        await s.expect("stream.stop", stream_id=0)
        await s.expect("stream.reset", stream_id=0)
        s.stream(0, b"late")  # Sluice had sent it before
        s.say("datagram.receive", data=b"go on")
        await s.expect("close")
        await s.over(by="app")

    with_handler(handler, play)
    assert "forgotten" in caplog.text


def test_tasks_of_a_session(caplog):
    cancelled = []

    async def handler(session):
        await session.accept()

        async def fails():
            raise ZeroDivisionError("in a task")

        async def resets():
            raise sluice.StreamReset("of no interest", 1)

        async def stays():
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.append(1)

        for work in (fails(), resets(), stays()):
            session.start(work)
        await session.receive_datagram()

    async def play(s):
        await s.accepted()
        s.say("datagram.receive", data=b"")
        await s.expect("close", code=0)
        await s.over(by="app")

    with caplog.at_level(logging.INFO):
        with_handler(handler, play)
    assert "in a task" in caplog.text and "of no interest" not in caplog.text and cancelled == [1]


def test_a_handler_that_fails(caplog):
    async def handler(session):
        await session.accept()
        raise ZeroDivisionError("handler")

    async def play(s):
        await s.accepted()
        await s.expect("close", code=500)
        await s.over(by="app")

    with_handler(handler, play)
    assert "Traceback" in caplog.text


def test_many_streams_leave_nothing_behind():
    links = []

    async def handler(session):
        links.append(session._link)
        await session.accept()
        async for stream in session.streams:
            await stream.end(await stream.read())
        assert not session._streams

    async def play(s):
        await s.accepted(session_window=10**9)
        for n in range(2000):
            s.stream(4 * n, b"ping", ended=True)
            await s.expect("stream.send", stream_id=4 * n, data=b"ping", end_stream=True)
        assert not links[0]._streams.open and not links[0]._line
        assert not links[0]._intake.unread and not links[0]._intake.items
        await s.over()

    with_handler(handler, play)
