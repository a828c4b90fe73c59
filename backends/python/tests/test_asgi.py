"""The ASGI adapter against a pretended Sluice: every message, both ways."""

import asyncio
import logging

import pytest
from fake import frame, run, scope, serving

import seed_app
from sluice import SessionClosed


def with_app(app, play, **options):
    """Runs play(fake Sluice) against one session of app."""

    async def main():
        async with serving(app, **options) as connect:
            await play(await connect())

    run(main())


def test_seed_example():
    async def play(s):
        await s.accepted()
        s.stream(0, b"")  # opened: not for ASGI applications
        s.stream(0, b"hello")
        await s.expect("stream.send", stream_id=0, data=b"Echo: hello")
        s.stream(0, b"", ended=True)
        await s.expect("stream.send", stream_id=0, data=b"Echo: ", end_stream=True)
        await s.over()

    with_app(seed_app.app, play)


def test_connect_first_and_scope():
    seen = {}

    async def app(scope, receive, send):
        assert scope["type"] == "webtransport"
        seen["scope"] = scope
        seen["first"] = await receive()
        await send({"type": "webtransport.accept"})
        seen["second"] = await receive()

    async def play(s):
        await s.accepted(client=None)
        await s.over(code=7, reason="bye", clean=True, by="client")

    with_app(app, play)
    assert seen["first"] == {"type": "webtransport.connect"}
    assert seen["second"] == {
        "type": "webtransport.disconnect",
        "code": 7,
        "reason": "bye",
        "clean": True,
        "by": "client",
    }
    expected = scope(client=None, server=("127.0.0.1", 4433))
    expected["headers"] = [(b"host", b"localhost:4433"), (b"x", b"1"), (b"x", b"2")]
    assert seen["scope"] == expected
    assert isinstance(seen["scope"]["server"], tuple) and seen["scope"]["client"] is None


FROM_SLUICE = [
    ({"type": "webtransport.stream.receive", "stream_id": 0, "stream_ended": False, "data": b"x"}, {}),
    ({"type": "webtransport.stream.receive", "stream_id": 2, "stream_ended": True, "data": b""}, {}),
    ({"type": "webtransport.stream.receive", "stream_id": 4, "data": b"y"}, {"stream_ended": False}),
    ({"type": "webtransport.stream.reset", "stream_id": 0, "code": 9}, {}),
    ({"type": "webtransport.stream.stop", "stream_id": 0, "code": None}, {}),
    ({"type": "webtransport.stream.delivered", "stream_id": 1}, {}),
    ({"type": "webtransport.datagram.receive", "data": b""}, {}),
    ({"type": "webtransport.datagram.limit", "max_size": 900}, {}),
    ({"type": "webtransport.drain", "reason": "shutdown", "deadline_ms": 5000}, {}),
    ({"type": "webtransport.error", "code": "datagram_too_large", "message": "too large", "count": 2}, {}),
]


def test_every_message_from_sluice():
    seen = []

    async def app(scope, receive, send):
        await receive()
        await send({"type": "webtransport.accept"})
        while True:
            message = await receive()
            seen.append(message)
            if message["type"] == "webtransport.disconnect":
                return

    async def play(s):
        await s.accepted()
        s.raw(frame({"type": "webtransport.from_the_future", "x": 1}))  # ignored
        s.say("credit", limit=10**9)  # hidden
        for message, _ in FROM_SLUICE:
            s.raw(frame({**message, "unknown_key": 1}))
        await s.over(code=None, clean=False, by="network")

    with_app(app, play)
    assert seen.pop() == {
        "type": "webtransport.disconnect",
        "code": None,
        "reason": "",
        "clean": False,
        "by": "network",
    }
    for message in seen:
        message.pop("unknown_key")
    assert seen == [{**message, **filled} for message, filled in FROM_SLUICE]


TO_SLUICE = [
    # what the application sends, what Sluice gets where that differs
    ({"type": "webtransport.stream.send", "stream_id": 1, "data": b""}, {}),
    ({"type": "webtransport.stream.send", "stream_id": 1}, {"data": b""}),
    ({"type": "webtransport.stream.send", "stream_id": 3, "data": "text", "end_stream": True}, {"data": b"text"}),
    ({"type": "webtransport.stream.send", "stream_id": 5, "data": memoryview(b"m"), "confirm": True}, {"data": b"m"}),
    ({"type": "webtransport.stream.priority", "stream_id": 5, "send_order": -3}, {}),
    ({"type": "webtransport.stream.reset", "stream_id": 5, "code": 2**32 - 1}, {}),
    ({"type": "webtransport.stream.stop", "stream_id": 1}, {"code": 0}),
    ({"type": "webtransport.stream.reset", "stream_id": 3, "code": 1}, {}),  # after its end: legal
    ({"type": "webtransport.datagram.send", "data": b"d"}, {}),
    ({"type": "webtransport.drain"}, {}),
    ({"type": "webtransport.close", "code": 5, "reason": "r", "after_delivery": True}, {}),
]


def test_every_message_to_sluice():
    async def app(scope, receive, send):
        await receive()
        await send(
            {
                "type": "webtransport.accept",
                "status": 201,
                "headers": [(b"set-cookie", b"a"), ("set-cookie", "b")],
                "subprotocol": "chat",
            }
        )
        for message, _ in TO_SLUICE:
            await send(message)
        with pytest.raises(OSError):
            await send({"type": "webtransport.datagram.send", "data": b"late"})

    async def play(s):
        s.scope()
        headers = [[b"set-cookie", b"a"], [b"set-cookie", b"b"]]
        assert await s.hear() == {"type": "accept", "status": 201, "headers": headers, "subprotocol": "chat"}
        for message, changed in TO_SLUICE:
            expected = {**message, **changed, "type": message["type"].removeprefix("webtransport.")}
            if not expected.get("end_stream", True):
                del expected["end_stream"]
            assert await s.hear() == expected
        await s.over(code=5, reason="r", by="app")

    with_app(app, play)


@pytest.mark.parametrize(
    "message, got",
    [
        ({"type": "webtransport.reject"}, {"type": "reject", "status": 403}),
        (
            {"type": "webtransport.reject", "status": 404, "headers": [(b"a", b"b")], "body": b"no"},
            {"type": "reject", "status": 404, "headers": [[b"a", b"b"]], "body": b"no"},
        ),
        ({"type": "webtransport.close"}, {"type": "close", "code": 0, "reason": ""}),
        ({"type": "webtransport.abort"}, {"type": "abort"}),
    ],
)
def test_denial(message, got):
    seen = []

    async def app(scope, receive, send):
        await receive()
        await send(message)
        seen.append(await receive())

    async def play(s):
        s.scope()
        assert await s.hear() == got
        await s.over(by="app")

    with_app(app, play)
    assert seen[0]["type"] == "webtransport.disconnect" and seen[0]["by"] == "app"


@pytest.mark.parametrize(
    "accept, message, error",
    [
        (True, {"type": "webtransport.accept"}, RuntimeError),
        (True, {"type": "webtransport.reject"}, RuntimeError),
        (True, {"type": "websocket.send"}, ValueError),
        (True, {}, ValueError),
        (True, {"type": "webtransport.stream.send", "data": b""}, ValueError),
        (True, {"type": "webtransport.stream.send", "stream_id": "1", "data": b""}, TypeError),
        (True, {"type": "webtransport.stream.send", "stream_id": 1, "data": 5}, TypeError),
        (True, {"type": "webtransport.stream.send", "stream_id": 5, "data": b""}, ValueError),  # 1 comes first
        (True, {"type": "webtransport.stream.send", "stream_id": 4, "data": b""}, ValueError),  # never opened
        (True, {"type": "webtransport.stream.send", "stream_id": 2, "data": b""}, ValueError),  # the client's, uni
        (True, {"type": "webtransport.stream.reset", "stream_id": 1}, ValueError),
        (True, {"type": "webtransport.stream.reset", "stream_id": 0, "code": 2**32}, ValueError),
        (True, {"type": "webtransport.stream.stop", "stream_id": 3}, ValueError),
        (False, {"type": "webtransport.stream.send", "stream_id": 1, "data": b""}, RuntimeError),
        (False, {"type": "webtransport.datagram.send", "data": b""}, RuntimeError),
        (False, {"type": "webtransport.drain"}, RuntimeError),
    ],
)
def test_mistakes_of_the_application_are_told_to_it(accept, message, error):
    """They raise where they are made and do not reach Sluice, where many of them would end the session."""
    raised = []

    async def app(scope, receive, send):
        await receive()
        if accept:
            await send({"type": "webtransport.accept"})
            assert (await receive())["stream_id"] == 0
        try:
            await send(message)
        except Exception as caught:
            raised.append(caught)
        await send({"type": "webtransport.close"})

    async def play(s):
        s.scope()
        if accept:
            await s.expect("accept")
            s.stream(0, b"x")
        await s.expect("close")
        await s.over(by="app")

    with_app(app, play)
    assert [type(e) for e in raised] == [error]


def test_sends_after_disconnect_raise_oserror():
    caught = []

    async def app(scope, receive, send):
        await send({"type": "webtransport.accept"})
        while (await receive())["type"] != "webtransport.disconnect":
            pass
        for kind in ("stream.send", "datagram.send", "close", "stream.reset"):
            try:
                await send({"type": "webtransport." + kind, "stream_id": 1, "data": b""})
            except OSError as error:
                caught.append(error)
        assert (await receive())["type"] == "webtransport.disconnect"  # again, for whoever asks again

    async def play(s):
        await s.accepted()
        await s.over(code=3, reason="done")

    with_app(app, play)
    assert len(caught) == 4 and all(isinstance(e, SessionClosed) for e in caught)
    assert "client" in str(caught[0]) and "done" in str(caught[0])


def test_a_send_that_waits_for_credit_ends_with_the_session():
    caught = []

    async def app(scope, receive, send):
        await send({"type": "webtransport.accept"})
        try:
            await send({"type": "webtransport.stream.send", "stream_id": 1, "data": b"x" * 5000})
        except OSError as error:
            caught.append(error)

    async def play(s):
        await s.accepted()
        assert len((await s.expect("stream.send"))["data"]) == 1000
        await s.over()

    with_app(app, play)
    assert len(caught) == 1


def test_app_that_raises_is_logged_and_closed_with_a_code(caplog):
    async def app(scope, receive, send):
        await send({"type": "webtransport.accept"})
        raise ZeroDivisionError("of all things")

    async def play(s):
        await s.accepted()
        await s.expect("close", code=77, reason="the application failed")
        await s.over(by="app")

    with_app(app, play, error_code=77)
    assert "of all things" in caplog.text and "Traceback" in caplog.text


def test_app_that_raises_before_accept_is_500():
    async def app(scope, receive, send):
        raise ZeroDivisionError

    async def play(s):
        s.scope()
        await s.expect("reject", status=500)
        await s.over(by="app")

    with_app(app, play)


def test_app_that_returns():
    async def app(scope, receive, send):
        await receive()
        if scope["path"] == "/accept":
            await send({"type": "webtransport.accept"})

    async def main():
        async with serving(app, close_code=4) as connect:
            s = await connect()
            await s.accepted(path="/accept")
            await s.expect("close", code=4, reason="", after_delivery=True)
            await s.over(by="app")
            s = await connect()
            s.scope(path="/")
            await s.expect("reject", status=403)
            await s.over(by="app")

    run(main())


def test_an_oserror_of_the_session_is_not_a_failure(caplog):
    async def app(scope, receive, send):
        await receive()
        await send({"type": "webtransport.accept"})
        await receive()
        await send({"type": "webtransport.datagram.send", "data": b""})

    async def play(s):
        await s.accepted()
        await s.over()

    with caplog.at_level(logging.INFO):
        with_app(app, play)
    assert "failed" not in caplog.text


def test_stopped_stream_swallows_sends():
    async def app(scope, receive, send):
        await send({"type": "webtransport.accept"})
        while True:
            message = await receive()
            if message["type"] == "webtransport.stream.stop":
                break
        await send({"type": "webtransport.stream.send", "stream_id": 0, "data": b"lost"})
        await send({"type": "webtransport.close"})

    async def play(s):
        await s.accepted()
        s.stream(0)
        s.say("stream.stop", stream_id=0, code=1)
        await s.expect("close")
        await s.over(by="app")

    with_app(app, play)


def test_lifespan():
    seen = []

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            assert (await receive())["type"] == "lifespan.startup"
            scope["state"]["db"] = "open"
            await send({"type": "lifespan.startup.complete"})
            assert (await receive())["type"] == "lifespan.shutdown"
            seen.append("shutdown")
            await send({"type": "lifespan.shutdown.complete"})
        else:
            seen.append(scope["state"])
            scope["state"]["mine"] = 1
            await send({"type": "webtransport.reject"})

    async def main():
        async with serving(app, lifespan=True) as connect:
            for _ in range(2):
                s = await connect()
                s.scope()
                await s.expect("reject")
                await s.over(by="app")

    run(main())
    assert seen == [{"db": "open", "mine": 1}, {"db": "open", "mine": 1}, "shutdown"]


def test_lifespan_failure_stops_the_start():
    from sluice import LifespanFailed

    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    async def main():
        with pytest.raises(LifespanFailed, match="no database"):
            async with serving(app, lifespan=True):
                pass

    run(main())


def test_shutdown_asks_and_then_closes():
    seen = []

    async def app(scope, receive, send):
        await receive()
        await send({"type": "webtransport.accept"})
        while (message := await receive())["type"] != "webtransport.disconnect":
            seen.append(message)
            if scope["path"] == "/polite" and message["type"] == "webtransport.drain":
                return

    async def main():
        async with serving(app, shutdown_timeout=10) as connect:
            polite, stubborn = await connect(), await connect()
            await polite.accepted(path="/polite")
            await stubborn.accepted(path="/stubborn")
            connect.server.stop()
            await polite.expect("drain")
            await polite.expect("close", code=0)
            await polite.over(by="app")
            await stubborn.expect("drain")
            connect.server.stop()  # a second time: no more patience
            await stubborn.expect("close", reason="the application is shutting down")
            await stubborn.over(by="app")
            with pytest.raises(OSError):
                await connect()

    run(main())
    assert seen == [{"type": "webtransport.drain", "reason": "shutdown", "deadline_ms": 10000}] * 2


def test_tasks_of_one_session_can_send_together():
    async def app(scope, receive, send):
        await send({"type": "webtransport.accept"})

        async def fill(stream_id, letter):
            await send(
                {"type": "webtransport.stream.send", "stream_id": stream_id, "data": letter * 3000, "end_stream": True}
            )

        await asyncio.gather(fill(1, b"a"), fill(5, b"b"), fill(9, b"c"))
        await send({"type": "webtransport.close"})

    async def play(s):
        await s.accepted()
        got = {1: b"", 5: b"", 9: b""}
        while (message := await s.hear())["type"] == "stream.send":
            got[message["stream_id"]] += message["data"]
            s.say("credit", stream_id=message["stream_id"], limit=len(got[message["stream_id"]]) + 700)
        assert got == {1: b"a" * 3000, 5: b"b" * 3000, 9: b"c" * 3000}
        await s.over(by="app")

    with_app(app, play)
