"""Reset, stop and close codes between real browsers and an application: exactly as given."""

import pytest

from conftest import REPEAT
from support.browsers import ScenarioFailed

U32 = 2**32 - 1
FROM_APP = [0, 1, 29, 30, 31, 255, 256, 65536, U32]
REASONS = ["", "bye", "süß ☃ \U0001f600", "x" * 1024]


# Chromium clamps what JavaScript gives it to 0..255, Firefox refuses more.
FROM_PAGE = [0, 1, 29, 30, 255]


def seen_by(browser):
    """Codes of the application's that this browser tells its page: Firefox's go up to 255."""
    return [code for code in FROM_APP if code <= 255 or browser.kind == "chromium"]


def test_page_resets_a_stream(browser, world):
    app, proxy = world.start()
    codes = FROM_PAGE
    scenario = browser.start("""
        const session = await wire.connect(args.url, { hash: args.hash });
        for (const code of args.codes) {
          const stream = await session.createBidirectionalStream();
          const writer = stream.writable.getWriter();
          await writer.write(wire.bytes('x'));
          // A reset that overtakes the stream's first bytes takes them with it.
          await stream.readable.getReader().read();
          writer.abort(wire.streamError(code)).catch(() => {}); // the last is answered with a close
        }
        await session.closed;
    """, **proxy.at("/"), codes=codes)
    session = app.session()
    session.accept()
    for i, code in enumerate(codes):
        session.wait("webtransport.stream.receive", stream_id=4 * i, data=b"x")
        session.stream_send(4 * i, b"y")
        assert session.wait("webtransport.stream.reset", stream_id=4 * i)["code"] == code
    session.send("webtransport.close")
    scenario.result()


def test_page_stops_a_stream(browser, world):
    if browser.kind == "firefox":
        pytest.skip("Firefox sends no STOP_SENDING when a page cancels a reader")
    app, proxy = world.start()
    codes = FROM_PAGE
    scenario = browser.start("""
        const session = await wire.connect(args.url, { hash: args.hash });
        for (const code of args.codes) {
          const stream = await session.createBidirectionalStream();
          const writer = stream.writable.getWriter();
          await writer.write(wire.bytes('x'));
          const reader = stream.readable.getReader();
          await reader.read();
          reader.cancel(wire.streamError(code)).catch(() => {}); // the last is answered with a close
        }
        await session.closed;
    """, **proxy.at("/"), codes=codes)
    session = app.session()
    session.accept()
    for i, code in enumerate(codes):
        session.wait("webtransport.stream.receive", stream_id=4 * i, data=b"x")
        session.stream_send(4 * i, b"y")
        assert session.wait("webtransport.stream.stop", stream_id=4 * i)["code"] == code
        # The half has ended; what a race may still send to it is ignored.
        session.stream_send(4 * i, b"z")
    session.send("webtransport.close")
    scenario.result()
    assert not [m for m in session.seen if m and m["type"] == "webtransport.error"]


def test_application_resets_a_stream(browser, world):
    """Firefox tells its page no code, and gives up the other half as well."""
    app, proxy = world.start()
    codes = seen_by(browser)
    scenario = browser.start("""
        const session = await wire.connect(args.url, { hash: args.hash });
        const outcomes = [];
        for (const code of args.codes) {
          const stream = await session.createBidirectionalStream();
          const writer = stream.writable.getWriter();
          wire.say(writer, 'x');
          const { error } = await wire.outcome(wire.readAll(stream.readable));
          outcomes.push(error && [error.name, error.source, error.code]);
          if (!args.halves) continue;
          wire.say(writer, 'y');
          writer.close().catch(() => {});
        }
        await session.closed;
        return outcomes;
    """, **proxy.at("/"), codes=codes, halves=browser.kind == "chromium")
    session = app.session()
    session.accept()
    for i, code in enumerate(codes):
        session.wait("webtransport.stream.receive", stream_id=4 * i, data=b"x")
        session.stream_send(4 * i, b"some")
        session.send("webtransport.stream.reset", stream_id=4 * i, code=code)
        if browser.kind == "chromium":
            assert session.read_stream(4 * i) == b"y"
    session.stream_send(3, b"that is all", end=True)
    session.send("webtransport.close", after_delivery=True)
    outcomes = scenario.result()
    if browser.kind == "chromium":
        assert outcomes == [["WebTransportError", "stream", code] for code in codes]
    else:
        assert len(outcomes) == len(codes) and all(outcomes)


def test_application_resets_a_stream_that_it_opens_in_the_same_breath(browser, world):
    """The page either never hears of the stream or sees it reset with the code; the session and
    later streams are not disturbed."""
    app, proxy = world.start()
    scenario = browser.start("""
        const session = await wire.connect(args.url, { hash: args.hash });
        const reader = session.incomingUnidirectionalStreams.getReader();
        for (;;) {
          const { value } = await reader.read();
          const { value: data, error } = await wire.outcome(wire.readAll(value));
          if (error && error.code !== 77) throw new Error('code ' + error.code);
          if (data && wire.text(data) === 'whole') break;
        }
        session.close();
    """, **proxy.at("/"))
    session = app.session()
    session.accept()
    session.send_all(*[message for i in range(20) for message in (
        ("webtransport.stream.send", {"stream_id": 3 + 4 * i, "data": b"partial"}),
        ("webtransport.stream.reset", {"stream_id": 3 + 4 * i, "code": 77}))])
    session.stream_send(3 + 4 * 20, b"whole", end=True)
    scenario.result()
    assert session.wait("webtransport.disconnect")["by"] == "client"


def test_application_stops_a_stream(browser, world):
    app, proxy = world.start()
    scenario = browser.start("""
        const session = await wire.connect(args.url, { hash: args.hash });
        const outcomes = [];
        for (const code of args.codes) {
          const writer = (await session.createUnidirectionalStream()).getWriter();
          wire.say(writer, 'x');
          const { error } = await wire.outcome(writer.closed);
          outcomes.push(error && [error.name, error.source, error.code]);
        }
        session.close();
        return outcomes;
    """, **proxy.at("/"), codes=seen_by(browser))
    session = app.session()
    session.accept()
    for i, code in enumerate(seen_by(browser)):
        session.wait("webtransport.stream.receive", stream_id=2 + 4 * i, data=b"x")
        session.send("webtransport.stream.stop", stream_id=2 + 4 * i, code=code)
    assert scenario.result() == [["WebTransportError", "stream", code]
                                 for code in seen_by(browser)]


@pytest.mark.parametrize("code", [0, 1, 4242, U32])
def test_page_closes_the_session(browser, world, code):
    app, proxy = world.start()
    for reason in REASONS:
        scenario = browser.start("""
            const session = await wire.connect(args.url, { hash: args.hash });
            session.close({ closeCode: args.code, reason: args.reason });
            return wire.ending(session);
        """, **proxy.at("/"), code=code, reason=reason)
        session = app.session()
        session.accept()
        message = session.wait("webtransport.disconnect")
        assert message == {"type": "webtransport.disconnect", "code": code, "reason": reason,
                           "clean": True, "by": "client"}
        session.close()
        assert scenario.result() == {"code": code, "reason": reason}


@pytest.mark.parametrize("code", [0, 1, 4242, U32])
def test_application_closes_the_session(browser, world, code):
    app, proxy = world.start()
    for reason in REASONS:
        scenario = browser.start("""
            const session = await wire.connect(args.url, { hash: args.hash });
            return wire.ending(session);
        """, **proxy.at("/"), code=code, reason=reason)
        session = app.session()
        session.accept()
        session.send("webtransport.close", code=code, reason=reason)
        message = session.wait("webtransport.disconnect")
        if browser.kind == "firefox":
            # It answers with the end of the connection instead of the stream's.
            message["clean"] = True
        assert message == {"type": "webtransport.disconnect", "code": code, "reason": reason,
                           "clean": True, "by": "app"}
        session.close()
        assert scenario.result() == {"code": code, "reason": reason}


def test_application_aborts_the_session(browser, world):
    app, proxy = world.start()
    scenario = browser.start("""
        const session = await wire.connect(args.url, { hash: args.hash });
        const stream = await session.createBidirectionalStream();
        wire.say(stream.writable.getWriter(), 'x');
        return wire.ending(session);
    """, **proxy.at("/"))
    session = app.session()
    session.accept()
    session.wait("webtransport.stream.receive", stream_id=0)
    session.send("webtransport.abort")
    message = session.wait("webtransport.disconnect")
    assert (message["by"], message["clean"], message["code"]) == ("app", False, None)
    assert scenario.result()["error"]


def test_page_goes_away(browser, world):
    """No close from the page: the tab is closed."""
    if browser.kind == "firefox":
        pytest.skip("Firefox keeps the session of a closed tab until it collects garbage")
    app, proxy = world.start()
    scenario = browser.start("""
        const session = await wire.connect(args.url, { hash: args.hash });
        window.kept = session;
        const stream = await session.createBidirectionalStream();
        await stream.writable.getWriter().write(wire.bytes('x'));
        await stream.readable.getReader().read();
    """, **proxy.at("/"))
    session = app.session()
    session.accept()
    session.wait("webtransport.stream.receive", stream_id=0)
    session.stream_send(0, b"y")
    scenario.result()
    message = session.wait("webtransport.disconnect", timeout=60)
    assert message["by"] == "client"


CLOSED_WHILE_OPENING = """
    const endings = [];
    for (let i = args.first; i < args.last; i++) {
      const session = await wire.connect(args.url + '/' + i, { hash: args.hash });
      (async () => {
        for (let n = 0; n < 5; n++) {
          const stream = await session.createBidirectionalStream();
          await stream.writable.getWriter().write(wire.bytes('x'));
          await new Promise((resolve) => setTimeout(resolve, 2));
        }
      })().catch(() => {});
      endings.push(await wire.ending(session));
    }
    return endings;
"""


def test_closes_in_a_row_lose_nothing(browser, world):
    """Sessions ended by the application while the page is opening streams: code and reason of
    every one arrive."""
    def close_at_once(session):
        session.accept()
        number = int(session.scope["path"].rsplit("/", 1)[1])
        session.wait("webtransport.stream.receive")
        session.send_all(
            ("webtransport.stream.send", {"stream_id": 1, "data": b"going", "end_stream": False}),
            ("webtransport.close", {"code": 1000 + number, "reason": f"number {number}"}))
        session.ended()

    _, proxy = world.start(close_at_once)
    count, results, crashes = max(REPEAT, 10), [], 0
    while len(results) < count:
        try:
            results += browser.run(CLOSED_WHILE_OPENING, timeout=60, **proxy.at("/close"),
                                   first=len(results), last=min(len(results) + 10, count))
        except ScenarioFailed as failure:
            # Chromium's page (not the session) crashes in about one of 300 closes that come while
            # it opens a stream. Then these ten are done again; nothing else is.
            crashes += 1
            if "Page crashed" not in str(failure) or crashes > 3:
                raise
    print(f"{count} closes; crashes of the page: {crashes}")
    assert results == [{"code": 1000 + i, "reason": f"number {i}"} for i in range(count)]


def test_closes_of_the_page_in_a_row_lose_nothing(browser, world):
    app, proxy = world.start()
    count = max(REPEAT, 10)
    scenario = browser.start("""
        for (let i = 0; i < args.count; i++) {
          const session = await wire.connect(args.url, { hash: args.hash });
          session.close({ closeCode: 2000 + i, reason: 'number ' + i });
          await session.closed;
        }
    """, timeout=40 + 2 * REPEAT, **proxy.at("/"), count=count)
    endings = []
    for _ in range(count):
        session = app.session()
        session.accept()
        message = session.wait("webtransport.disconnect")
        endings.append((message["code"], message["reason"]))
        session.close()
    scenario.result()
    assert endings == [(2000 + i, f"number {i}") for i in range(count)]
