"""How sessions begin and how they end from above, in real browsers."""

import pytest

from conftest import REPEAT

FAILED = """
    const session = wire.open(args.url, { hash: args.hash });
    const ready = await wire.outcome(session.ready);
    const ending = await wire.ending(session);
    return { ready: ready.error && ready.error.name, ending: ending.error && ending.error.name };
"""
AS_FAILED = {"ready": "WebTransportError", "ending": "WebTransportError"}


@pytest.mark.parametrize("status", [403, 404, 503])
def test_rejected_session_fails(browser, world, status):
    app, proxy = world.start()
    scenario = browser.start(FAILED, **proxy.at("/secret"))
    session = app.session()
    session.send("webtransport.reject", status=status, headers=[[b"x-why", b"because"]],
                 body=b"no\n")
    assert session.wait("webtransport.disconnect") == {
        "type": "webtransport.disconnect", "code": None, "reason": "", "clean": True, "by": "app"}
    session.close()
    assert scenario.result() == AS_FAILED


def test_close_before_accept_is_a_rejection(browser, world):
    app, proxy = world.start()
    scenario = browser.start(FAILED, **proxy.at("/"))
    session = app.session()
    session.send("webtransport.close")
    session.wait("webtransport.disconnect", by="app")
    session.close()
    assert scenario.result() == AS_FAILED


def test_no_application(browser, world):
    proxy = world.proxy(f"unix:{world.directory}/absent.sock")
    assert browser.run(FAILED, **proxy.at("/")) == AS_FAILED
    proxy.wait_log("session.refused", fault="backend_connect")


@pytest.mark.parametrize("status", [201, 204, 299])
def test_accept_with_another_status_and_own_headers(browser, world, status):
    app, proxy = world.start()
    scenario = browser.start("""
        const session = await wire.connect(args.url, { hash: args.hash });
        const stream = await session.createBidirectionalStream();
        await wire.writeAll(stream.writable, wire.bytes('hello'));
        const back = wire.text(await wire.readAll(stream.readable));
        session.close();
        return back;
    """, **proxy.at("/"))
    session = app.session()
    session.accept(status=status, headers=[
        [b"set-cookie", b"a=1; Path=/"], [b"x-one", b"1"], [b"set-cookie", b"b=2; Path=/"],
        [b"set-cookie", b"c=3; Path=/"], [b"server", b"raw"]])
    assert session.read_stream(0) == b"hello"
    session.stream_send(0, b"hello to you", end=True)
    assert scenario.result() == "hello to you"


def test_subprotocol(browser, world):
    app, proxy = world.start()
    scenario = browser.start("""
        const session = await wire.connect(args.url, { hash: args.hash, protocols: ['a', 'b'] });
        const got = session.protocol === undefined ? null : session.protocol;
        session.close();
        return got;
    """, **proxy.at("/"))
    session = app.session()
    offered = session.scope["subprotocols"]
    assert offered in ([], ["a", "b"])
    session.accept(**({"subprotocol": "b"} if offered else {}))
    got = scenario.result()
    if offered and got is not None:
        assert got == "b"


GO = """
    const seen = [];
    for (let i = 0; i < args.count; i++) {
      const session = wire.open(args.url + '/' + i, { hash: args.hash });
      const first = wire.outcome((async () => wire.text(await wire.readAll(
        await wire.next(session.incomingUnidirectionalStreams))))());
      const ready = await wire.outcome(session.ready);
      const ending = await wire.ending(session);
      seen.push([ready.error || null, await first, ending]);
    }
    return seen;
"""


def all_at_once(**close):
    def handler(session):
        number = int(session.scope["path"].rsplit("/", 1)[1])
        session.send_all(
            ("webtransport.accept", {}),
            ("webtransport.stream.send",
             {"stream_id": 3, "data": b"first bytes %d" % number, "end_stream": True}),
            ("webtransport.close", {"code": 300 + number, "reason": f"number {number}", **close}))
        session.ended()
    return handler


def test_accept_first_bytes_and_close_in_one_go(browser, world):
    """What the application writes in one piece arrives in the page as exactly that. Browsers throw
    away what the page has not read when a close arrives, so the close says after_delivery."""
    _, proxy = world.start(all_at_once(after_delivery=True))
    result = browser.run(GO, timeout=40 + 2 * REPEAT, **proxy.at("/go"), count=REPEAT)
    assert result == [[None, {"value": f"first bytes {i}"},
                       {"code": 300 + i, "reason": f"number {i}"}] for i in range(REPEAT)]


def test_accept_and_close_in_one_go(browser, world):
    """Without after_delivery the bytes may be lost, but neither the session nor its end."""
    _, proxy = world.start(all_at_once())
    result = browser.run(GO, timeout=40 + 2 * REPEAT, **proxy.at("/go"), count=REPEAT)
    assert [[ready, ending] for ready, _, ending in result] == [
        [None, {"code": 300 + i, "reason": f"number {i}"}] for i in range(REPEAT)]


def test_application_drains(browser, world):
    """Draining is advice: everything still works. Only some browsers tell their page."""
    app, proxy = world.start()
    scenario = browser.start("""
        const session = await wire.connect(args.url, { hash: args.hash });
        const stream = await session.createBidirectionalStream();
        const writer = stream.writable.getWriter();
        const reader = stream.readable.getReader();
        await writer.write(wire.bytes('ready'));
        await reader.read();
        if (session.draining) await session.draining;
        await writer.write(wire.bytes('still here'));
        const back = wire.text((await reader.read()).value);
        session.close({ closeCode: 5, reason: 'as asked' });
        return back;
    """, **proxy.at("/"))
    session = app.session()
    session.accept()
    session.read_stream(0, until=b"ready")
    session.send("webtransport.drain")
    session.stream_send(0, b"go on")
    session.read_stream(0, until=b"still here")
    session.stream_send(0, b"thanks")
    message = session.wait("webtransport.disconnect")
    assert (message["code"], message["reason"]) == (5, "as asked")
    assert scenario.result() == "thanks"


def test_proxy_stops_while_a_page_is_connected(browser, world):
    app, proxy = world.start()
    scenario = browser.start("""
        const session = await wire.connect(args.url, { hash: args.hash });
        const stream = await session.createBidirectionalStream();
        wire.say(stream.writable.getWriter(), 'x');
        return wire.ending(session);
    """, timeout=60, **proxy.at("/"))
    session = app.session()
    session.accept()
    session.wait("webtransport.stream.receive", stream_id=0)
    proxy.terminate()
    assert session.wait("webtransport.drain")["reason"] == "shutdown"
    session.send("webtransport.close", code=9, reason="going down")
    session.wait("webtransport.disconnect", by="app")
    session.close()
    assert scenario.result() == {"code": 9, "reason": "going down"}
    proxy.join()


@pytest.mark.soak
def test_proxy_vanishes(browser, world):
    """Killed, without a word: the page notices by itself."""
    if browser.kind == "firefox":
        pytest.skip("Firefox does not tell its page within two minutes")
    app, proxy = world.start()
    scenario = browser.start("""
        const session = await wire.connect(args.url, { hash: args.hash });
        const stream = await session.createBidirectionalStream();
        wire.say(stream.writable.getWriter(), 'x');
        return wire.ending(session);
    """, timeout=120, **proxy.at("/"))
    session = app.session()
    session.accept()
    session.wait("webtransport.stream.receive", stream_id=0)
    proxy.kill()
    world.proxies.remove(proxy)
    session.ended()
    assert "webtransport.disconnect" not in [m and m["type"] for m in session.seen]
    assert scenario.result()["error"]["source"] == "session"
