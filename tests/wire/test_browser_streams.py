"""Streams and datagrams between real browsers and an application."""

import hashlib
import struct

import pytest

from support.rawapp import echo

MEGABYTES = 10


def test_bidirectional_echo_of_ten_megabytes(browser, world):
    _, proxy = world.start(echo)
    result = browser.run("""
        const session = await wire.connect(args.url, { hash: args.hash });
        const data = wire.pattern(args.size, 7);
        const stream = await session.createBidirectionalStream();
        const [, back] = await Promise.all([
          wire.writeAll(stream.writable, data), wire.readAll(stream.readable)]);
        session.close();
        return { length: back.length, same: wire.same(data, back),
                 sent: await wire.sha256(data), received: await wire.sha256(back) };
    """, timeout=90, **proxy.at("/echo"), size=MEGABYTES << 20)
    assert result["length"] == MEGABYTES << 20
    assert result["same"]
    assert result["sent"] == result["received"]


def test_upload_of_ten_megabytes_reaches_the_application_whole(browser, world):
    app, proxy = world.start()
    scenario = browser.start("""
        const session = await wire.connect(args.url, { hash: args.hash });
        const data = wire.pattern(args.size, 9);
        // The close may come before the news that all has arrived.
        wire.writeAll(await session.createUnidirectionalStream(), data).catch(() => {});
        await session.closed;
        return wire.sha256(data);
    """, timeout=90, **proxy.at("/upload"), size=MEGABYTES << 20)
    session = app.session()
    session.accept()
    data = session.read_stream(2, timeout=60)
    session.send("webtransport.close")
    assert scenario.result() == hashlib.sha256(data).hexdigest()
    assert len(data) == MEGABYTES << 20


def test_client_uni_is_answered_on_a_server_uni(browser, world):
    _, proxy = world.start(echo)
    result = browser.run("""
        const session = await wire.connect(args.url, { hash: args.hash });
        const answers = [];
        for (const text of ['first', '', 'third']) {
          await wire.writeAll(await session.createUnidirectionalStream(), wire.bytes(text));
          answers.push(wire.text(await wire.readAll(
            await wire.next(session.incomingUnidirectionalStreams))));
        }
        session.close();
        return answers;
    """, **proxy.at("/"))
    assert result == ["first", "", "third"]


@pytest.mark.firefox_since(153, "it delivers only two streams opened by the server")
def test_streams_that_the_application_opens(browser, world):
    app, proxy = world.start()
    scenario = browser.start("""
        const session = await wire.connect(args.url, { hash: args.hash });
        const got = { bidi: [], uni: [] };
        const bidi = session.incomingBidirectionalStreams.getReader();
        for (let i = 0; i < 5; i++) {
          const { value } = await bidi.read();
          const text = wire.text(await wire.readAll(value.readable));
          got.bidi.push(text);
          await wire.writeAll(value.writable, wire.bytes('answer to ' + text));
        }
        const uni = session.incomingUnidirectionalStreams.getReader();
        for (let i = 0; i < 5; i++) {
          const { value } = await uni.read();
          got.uni.push(wire.text(await wire.readAll(value)));
        }
        wire.writeAll(await session.createUnidirectionalStream(), wire.bytes('all read'))
          .catch(() => {});
        await session.closed; // closing here could outrun the answers
        return got;
    """, **proxy.at("/"))
    session = app.session()
    session.accept()
    for i in range(5):
        session.stream_send(1 + 4 * i, b"bidi %d" % i, end=True)
        session.stream_send(3 + 4 * i, b"uni ")
        session.stream_send(3 + 4 * i, b"%d" % i, end=True)
    for i in range(5):
        assert session.read_stream(1 + 4 * i) == b"answer to bidi %d" % i
    assert session.read_stream(2) == b"all read"
    session.send("webtransport.close")
    got = scenario.result()
    assert got["bidi"] == [f"bidi {i}" for i in range(5)]
    assert sorted(got["uni"]) == [f"uni {i}" for i in range(5)]


def test_a_stream_stays_open_while_both_sides_take_turns(browser, world):
    app, proxy = world.start()
    scenario = browser.start("""
        const session = await wire.connect(args.url, { hash: args.hash });
        const stream = await session.createBidirectionalStream();
        const writer = stream.writable.getWriter();
        const reader = stream.readable.getReader();
        const heard = [];
        for (let i = 0; i < 20; i++) {
          await writer.write(wire.bytes('ping ' + i));
          heard.push(wire.text((await reader.read()).value));
        }
        await writer.close();
        const { done } = await reader.read();
        session.close();
        return { heard, done };
    """, **proxy.at("/"))
    session = app.session()
    session.accept()
    for i in range(20):
        got = b""
        while got != b"ping %d" % i:
            got += session.wait("webtransport.stream.receive", stream_id=0)["data"]
        session.stream_send(0, b"pong %d" % i)
    assert session.read_stream(0) == b""
    session.stream_send(0, end=True)
    assert scenario.result() == {"heard": [f"pong {i}" for i in range(20)], "done": True}


def test_datagrams_come_back(browser, world):
    _, proxy = world.start(echo)
    result = browser.run("""
        const session = await wire.connect(args.url, { hash: args.hash });
        const writer = wire.datagramWriter(session).getWriter();
        const reader = session.datagrams.readable.getReader();
        const seen = [];
        (async () => {
          for (;;) {
            const { value, done } = await reader.read();
            if (done) return;
            seen.push(value);
          }
        })().catch(() => {});
        const sizes = [1, 2, 100, 1000];
        const back = [];
        for (let i = 0; i < 40; i++) {
          const data = wire.pattern(sizes[i % sizes.length], i + 1);
          // Datagrams may be lost: say it again until it comes back.
          for (let tries = 0; !seen.some((d) => wire.same(d, data)); tries++) {
            if (tries === 100) throw new Error('datagram ' + i + ' never came back');
            if (tries % 20 === 0) await writer.write(data);
            await new Promise((resolve) => setTimeout(resolve, 5));
          }
          back.push(i);
        }
        session.close();
        return { back: back.length, max: session.datagrams.maxDatagramSize };
    """, **proxy.at("/"))
    assert result["back"] == 40
    assert result["max"] >= 1000


def test_three_hundred_streams_at_once(browser, world):
    _, proxy = world.start(echo)
    result = browser.run("""
        const session = await wire.connect(args.url, { hash: args.hash });
        const streams = [];
        for (let i = 0; i < 300; i++) streams.push(await session.createBidirectionalStream());
        const writers = streams.map((s) => s.writable.getWriter());
        await Promise.all(writers.map((w, i) => w.write(wire.pattern(1000 + i, i + 1))));
        // Every stream is open and has spoken; now each is ended.
        const [backs] = await Promise.all([
          Promise.all(streams.map((s) => wire.readAll(s.readable))),
          Promise.all(writers.map((w) => w.close()))]);
        session.close();
        return backs.filter((b, i) => wire.same(b, wire.pattern(1000 + i, i + 1))).length;
    """, timeout=60, **proxy.at("/"))
    assert result == 300


@pytest.mark.firefox_since(153, "it delivers only two streams opened by the server")
def test_three_hundred_streams_of_the_application_at_once(browser, world):
    app, proxy = world.start()
    scenario = browser.start("""
        const session = await wire.connect(args.url, { hash: args.hash });
        const reader = session.incomingUnidirectionalStreams.getReader();
        const numbers = [];
        const all = [];
        while (all.length < 300) {
          const { value } = await reader.read();
          all.push(wire.readAll(value).then((b) => numbers.push(new DataView(b.buffer).getUint32(0))));
        }
        await Promise.all(all);
        session.close();
        return numbers.sort((a, b) => a - b);
    """, timeout=60, **proxy.at("/"))
    session = app.session()
    session.accept()
    for i in range(300):
        session.stream_send(3 + 4 * i, struct.pack(">I", i), end=False)
    for i in range(300):
        session.stream_send(3 + 4 * i, end=True)
    session.wait("webtransport.disconnect", timeout=60)
    assert scenario.result() == list(range(300))


def test_two_sessions_of_one_page_do_not_mix(browser, world):
    _, proxy = world.start(echo)
    result = browser.run("""
        const sessions = await Promise.all([1, 2].map(
          () => wire.connect(args.url, { hash: args.hash })));
        const echoes = await Promise.all(sessions.map(async (session, i) => {
          const stream = await session.createBidirectionalStream();
          const [, back] = await Promise.all([
            wire.writeAll(stream.writable, wire.bytes('session ' + i)),
            wire.readAll(stream.readable)]);
          return wire.text(back);
        }));
        sessions.forEach((s) => s.close());
        return echoes;
    """, **proxy.at("/"))
    assert result == ["session 0", "session 1"]
