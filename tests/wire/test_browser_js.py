"""backends/js in real browsers. The application plays what stands behind a bridge, by hand."""

import itertools
import json
import os
import socket
import struct
import threading

import pytest

from conftest import REPEAT
from support.browsers import ROOT
from support.rawapp import echo

MODULE = """
    const { CODES, EndOfStream, SessionError, StreamError, TooLong, connect } =
      await import('/backends/js/sluice.js');
    const start = () => connect(args.url, { certificate: wire.fromBase64(args.hash) });
    const failure = (promise) => promise.then(
      (value) => { throw new Error('no failure, but ' + JSON.stringify(value)); },
      (e) => ({ name: e.name, kind: e.kind, code: e.code, message: e.message,
                partial: e.partial && wire.text(e.partial) }));
"""
KINDS = {1: "refused", 2: "unreachable", 3: "timeout", 4: "reset", 5: "full", 6: "tls",
         7: "unsupported", 200: "other"}


def begin(browser, proxy, script, **args):
    return browser.start(MODULE + script, **proxy.at("/"), **args)


def test_bytes_are_asked_for_in_many_ways(browser, world):
    app, proxy = world.start()
    scenario = begin(browser, proxy, """
        const session = await start();
        const stream = await session.open();
        await stream.write('begin\\n');
        const said = [await stream.readLine(), await stream.readLine(), await stream.readLine()];
        said.push(wire.text(await stream.readExactly(5)), wire.text(await stream.readExactly(0)));
        said.push(wire.text(await stream.readUntil('--')), wire.text(await stream.readUntil('abac')));
        const long = await failure(stream.readLine({ limit: 4 }));
        said.push(long.name, wire.text(await stream.read()));
        said.push(await new Response(stream.readable).text());
        said.push(await stream.readLine(), await stream.read());
        session.close(7, 'read');
        return said;
    """)
    session = app.session()
    session.accept()
    assert session.read_stream(0, until=b"\n") == b"begin\n"
    for part in (b"one\r", b"\ntw", b"o\n\n12", b"345.", b".-", b"-aba", b"bac", b"too long"):
        session.stream_send(0, part)
    # The two parts are apart only if the first one was read before the second is sent.
    session.stream_send(0, b"; the rest", end=True)
    end = session.wait("webtransport.disconnect")
    said = scenario.result()
    assert said[:8] == ["one", "two", "", "12345", "", "..--", "ababac", "TooLong"]
    assert said[8] + said[9] == "too long; the rest"
    assert said[10:] == [None, None]
    assert (end["code"], end["reason"]) == (7, "read")


def test_the_end_in_the_middle_tells_what_there_was(browser, world):
    app, proxy = world.start()
    scenario = begin(browser, proxy, """
        const session = await start();
        const said = [];
        for (const ask of [(s) => failure(s.readExactly(10)), (s) => failure(s.readUntil('\\0')),
                           (s) => s.readLine(), (s) => s.readAll().then(wire.text)]) {
          const stream = await session.open();
          await stream.write('?');
          await stream.closeWrite();
          said.push(await ask(stream));
        }
        session.close();
        return said;
    """)
    session = app.session()
    session.accept()
    for stream in range(0, 16, 4):
        assert session.read_stream(stream) == b"?"
        session.stream_send(stream, "süß".encode(), end=True)
    session.wait("webtransport.disconnect")
    exactly, until, line, rest = scenario.result()
    assert exactly["name"] == until["name"] == "EndOfStream"
    assert exactly["partial"] == until["partial"] == line == rest == "süß"


def test_one_reader_at_a_time(browser, world):
    app, proxy = world.start()
    scenario = begin(browser, proxy, """
        const session = await start();
        const stream = await session.open();
        await stream.write('x');
        const first = stream.readLine();
        const second = await failure(stream.read());
        await stream.write('y');
        const line = await first;
        session.close();
        return [second.name, line];
    """)
    session = app.session()
    session.accept()
    session.read_stream(0, until=b"y")
    session.stream_send(0, b"answer\n")
    session.wait("webtransport.disconnect")
    assert scenario.result() == ["TypeError", "answer"]


@pytest.mark.parametrize("stop_first", [True, False])
def test_the_codes_of_a_bridge_have_names(browser, world, stop_first):
    """Firefox tells its page the code of a stop alone, Chromium sometimes that of a reset alone."""
    app, proxy = world.start()
    scenario = begin(browser, proxy, """
        const session = await start();
        const said = [], first = await session.open();
        for (const code of args.codes) {
          const stream = await session.open();
          await stream.write('x');
          await first.write('.'); // a stop that overtakes a write is another matter: see told()
          const read = await failure(stream.readLine());
          const again = await failure(stream.read());
          const written = await failure((async () => { for (;;) await stream.write('y'); })());
          said.push([read.name, again.kind, written.kind, read.kind, read.code, read.message]);
        }
        session.close();
        return [CODES, said];
    """, codes=list(KINDS))
    session = app.session()
    session.accept()
    for stream_id, code in zip(itertools.count(4, 4), KINDS):
        session.wait("webtransport.stream.receive", stream_id=stream_id, data=b"x")
        session.wait("webtransport.stream.receive", stream_id=0, data=b".")
        both = [("webtransport.stream.stop", {"stream_id": stream_id, "code": code}),
                ("webtransport.stream.reset", {"stream_id": stream_id, "code": code})]
        session.send_all(*(both if stop_first else both[::-1]))
    session.wait("webtransport.disconnect")
    codes, said = scenario.result()
    assert codes == {kind: code for code, kind in KINDS.items() if kind != "other"}
    assert {name for name, *_ in said} == {"StreamError"}
    assert [words[1:5] for words in said] == [[kind] * 3 + [code] for code, kind in KINDS.items()]
    assert "code is 200" in said[-1][5]


def test_only_one_half_is_broken(browser, world):
    """The service reads no more, but goes on to say what it has to."""
    app, proxy = world.start()
    scenario = begin(browser, proxy, """
        const session = await start();
        const stream = await session.open();
        const written = await failure((async () => { for (;;) await stream.write('y'); })());
        const read = args.halves ? await stream.readLine() : 'said';
        session.close();
        return [written.name, read];
    """, halves=browser.kind == "chromium")  # Firefox gives up both
    session = app.session()
    session.accept()
    session.wait("webtransport.stream.receive", stream_id=0)
    session.send("webtransport.stream.stop", stream_id=0, code=4)
    session.stream_send(0, b"said\n")
    session.wait("webtransport.disconnect")
    assert scenario.result() == ["StreamError", "said"]


def test_a_reset_without_a_stop(browser, world):
    app, proxy = world.start()
    scenario = begin(browser, proxy, """
        const session = await start();
        const stream = await session.open();
        stream.write('x').catch(() => {});
        const read = await failure(stream.read());
        session.close();
        return [read.name, read.kind, read.code];
    """)
    session = app.session()
    session.accept()
    session.wait("webtransport.stream.receive", stream_id=0, data=b"x")
    session.send("webtransport.stream.reset", stream_id=0, code=4)
    session.wait("webtransport.disconnect")
    assert scenario.result() == ["StreamError"] + (
        ["reset", 4] if browser.kind == "chromium" else ["unknown", None])


def test_megabytes_through_readable_and_writable(browser, world):
    app, proxy = world.start(echo)
    assert begin(browser, proxy, """
        const session = await start();
        const data = wire.pattern(3000000, 7);
        const stream = await session.open();
        await stream.write('a line first\\n');
        const line = await stream.readLine();
        const sending = new Blob([data]).stream().pipeTo(stream.writable);
        const back = new Uint8Array(await new Response(stream.readable).arrayBuffer());
        await sending;
        const other = await session.open();
        const reading = other.readAll();
        for (let at = 0; at < data.length; at += 100000) await other.write(data.subarray(at, at + 100000));
        await other.closeWrite();
        const again = await reading;
        const short = await session.open();
        await short.write(data.subarray(0, 1000));
        await short.closeWrite();
        const limited = await failure(short.readAll({ limit: 999 }));
        const rest = await short.readAll();
        session.close();
        return [line, wire.same(back, data), wire.same(again, data), limited.name, rest.length];
    """).result() == ["a line first", True, True, "TooLong", 1000]


def test_lines_of_many_pieces(browser, world):
    app, proxy = world.start(echo)
    got = begin(browser, proxy, """
        const session = await start();
        const stream = await session.open();
        const lines = [];
        for (let i = 0; i < 10000; i++) lines.push('line ' + i + '.'.repeat(i % 40));
        stream.write(lines.join('\\r\\n')).then(() => stream.closeWrite());
        let same = 0, at = 0;
        for await (const line of stream.lines()) same += line === lines[at++];
        session.close();
        return [same, at];
    """).result()
    assert got == [10000, 10000]


def test_the_page_resets(browser, world):
    app, proxy = world.start()
    scenario = begin(browser, proxy, """
        const session = await start();
        const stream = await session.open();
        await stream.write('x');
        await stream.read();
        stream.reset(9);
        const said = [await failure(stream.read()), await failure(stream.write('y'))];
        await session.closed;
        return said.map((e) => [e.name, e.message]);
    """)
    session = app.session()
    session.accept()
    session.wait("webtransport.stream.receive", stream_id=0, data=b"x")
    session.stream_send(0, b"y")
    assert session.wait("webtransport.stream.reset", stream_id=0)["code"] == 9
    session.send("webtransport.close")
    assert scenario.result() == [["StreamError", "This page has reset the stream."]] * 2


def test_datagrams(browser, world):
    app, proxy = world.start(echo)
    got = begin(browser, proxy, """
        const session = await start();
        const answer = session.datagrams.receive();
        await session.datagrams.send('hello');
        const first = wire.text(await answer);
        await session.datagrams.send(wire.bytes('again'));
        let second;
        for await (const bytes of session.datagrams) { second = wire.text(bytes); break; }
        const size = session.datagrams.maxSize;
        session.close();
        await session.closed;
        return [first, second, size > 1000, (await failure(session.datagrams.send('late'))).kind];
    """).result()
    assert got == ["hello", "again", True, "closed"]


def test_how_sessions_end(browser, world):
    app, proxy = world.start()
    scenario = begin(browser, proxy, """
        const first = await start();
        const stream = await first.open();
        stream.write('x').catch(() => {});
        const read = await failure(stream.read());
        const end = await first.closed;
        const open = await failure(first.open());
        const second = await failure(start());
        return [read.name, read.kind, end, open.name, open.kind, second.name, second.kind];
    """)
    session = app.session()
    session.accept()
    session.wait("webtransport.stream.receive", stream_id=0, data=b"x")
    session.send("webtransport.close", code=5, reason="enough")
    session = app.session()
    session.send("webtransport.reject", status=403)
    assert scenario.result() == ["SessionError", "closed", {"code": 5, "reason": "enough"},
                                 "SessionError", "closed", "SessionError", "failed"]


def test_a_lost_session(browser, world):
    app, proxy = world.start()
    scenario = begin(browser, proxy, """
        const session = await start();
        session.datagrams.send('here').catch(() => {}); // the end may come before this is settled
        return failure(session.closed);
    """)
    session = app.session()
    session.accept()
    session.wait("webtransport.datagram.receive")
    session.send("webtransport.abort")
    lost = scenario.result()
    assert (lost["name"], lost["kind"]) == ("SessionError", "lost")


def test_hashes(browser, world):
    app, proxy = world.start(echo)
    assert begin(browser, proxy, """
        const hex = [...wire.fromBase64(args.hash)].map((b) => b.toString(16).padStart(2, '0'));
        for (const certificate of [hex.join(''), hex.join(':').toUpperCase(), ['00'.repeat(32), hex.join('')]])
          (await connect(args.url, { certificate })).close();
        const said = [];
        for (const certificate of ['abc', new Uint8Array(31), null])
          said.push((await failure(connect(args.url, { certificate }))).name);
        said.push((await failure(connect(args.url, { certificate: '00'.repeat(32) }))).name);
        return said;
    """).result() == ["TypeError"] * 3 + ["SessionError"]


def test_the_example_in_the_readme(browser, world):
    with open(os.path.join(ROOT, "backends", "js", "README.md"), encoding="utf-8") as file:
        code = file.read().split("```js\n")[1].split("```")[0]
    statement, code = code.split("\n", 1)
    assert statement == 'import { StreamError, connect } from "./sluice.js";'
    code = code.replace('"https://localhost:4433/redis"', "args.url").replace(
        '"PASTE THE HASH HERE"', "wire.fromBase64(args.hash)")
    app, proxy = world.start()
    scenario = begin(browser, proxy, """
        const said = [], console = { log: (...words) => said.push(words.join(' ')) };
    """ + code + "\nreturn said;")
    session = app.session()
    session.accept()
    assert session.read_stream(0, until=b"COUNT\r\n") == b"PING\r\nINCR visits\r\nGET COUNT\r\n"
    session.stream_send(0, b"+PONG\r\n:7\r\n$2\r\n\xc3\xbc\r\n")
    assert session.read_stream(0) == b""
    session.stream_send(0, b"", end=True)
    session.wait("webtransport.disconnect")
    assert scenario.result() == ["+PONG", "visits: 7", "\u00fc"]


# --- with a bridge instead of the application ---


class Service:
    """A TCP service that does one thing to each connection, which gets its first bytes with it."""

    def __init__(self, deed):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "tcp:127.0.0.1:%d" % self.listener.getsockname()[1]
        self.deed = deed
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with sock:
                self.deed(sock, sock.recv(65536))

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.fixture
def service():
    running = []

    def start(deed):
        running.append(Service(deed))
        return running[-1].address
    yield start
    for each in running:
        each.stop()


def bridge(world, address, **keys):
    backend = json.dumps({"kind": "bridge", "addresses": [address], **keys})
    return world.configured(f"backends: {{service: {backend}}}\nroutes: [{{path: /, backend: service}}]\n")


def told(kind, code):
    """What pages are told when a stop overtakes a write: browsers may lose the code then, and Chromium,
    once in a thousand times, leaves the reading half as it was. So both halves are asked."""
    return [[kind, code], ["unknown", None]]


def test_nobody_listens_behind_the_bridge(browser, world):
    proxy = bridge(world, f"unix:{world.directory}/absent.sock")
    for _ in range(REPEAT):
        assert begin(browser, proxy, """
            const session = await start();
            const stream = await session.open();
            const broken = await failure(Promise.all([stream.readLine(), stream.write('hello')]));
            session.close();
            return [broken.kind, broken.code];
        """).result() in told("refused", 1)


def test_the_service_behind_the_bridge_answers_after_the_end(browser, world, service):
    def upper(sock, data):
        while part := sock.recv(65536):
            data += part
        sock.sendall(data.upper())

    proxy = bridge(world, service(upper))
    assert begin(browser, proxy, """
        const session = await start();
        const stream = await session.open();
        await stream.write('one ');
        await stream.write('two');
        await stream.closeWrite();
        const text = wire.text(await stream.readAll());
        session.close();
        return text;
    """).result() == "ONE TWO"


def test_the_service_behind_the_bridge_resets(browser, world, service):
    def reset(sock, _):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    proxy = bridge(world, service(reset))
    for _ in range(REPEAT):
        assert begin(browser, proxy, """
            const session = await start();
            const stream = await session.open();
            const broken = await failure(Promise.all([stream.readAll(), stream.write('hello')]));
            session.close();
            return [broken.kind, broken.code];
        """).result() in told("reset", 4)
