"""The demo application's commands and paths, as browsers see them, and what the demo page says
when there is no connection."""

import contextlib
import os
import socket
import subprocess

import pytest

from support.proxy import BUILD

DEMO = os.path.join(BUILD, "backends", "c", "sluice-demo")
GREETING = "Hello from the application.\n"

# For scenarios: a command to the demo, and a check of its pattern.
HELPERS = """
    const command = async (session, text) => {
      const writer = (await session.createUnidirectionalStream()).getWriter();
      await writer.write(wire.bytes(text));
      await writer.close();
    };
    const isPattern = (data) => data.every((byte, k) => byte === k % 251);
"""


@pytest.fixture
def demo(directory):
    """sluice-demo, listening; its process has .address."""
    address = f"unix:{directory}/demo.sock"
    process = subprocess.Popen([DEMO, "--bind", address], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == f"sluice-demo: listening on {address}\n"
    process.address = address
    yield process
    process.terminate()
    assert process.wait(40) == 0


def run(browser, world, demo, code, path="/", **args):
    proxy = world.proxy(demo.address)
    return browser.run(HELPERS + "const session = await wire.connect(args.url, {hash: args.hash, "
                       "...args.options});" + code, **proxy.at(path), **args)


@pytest.mark.firefox_since(153, "it delivers only two streams opened by the server")
def test_opens_streams(browser, world, demo):
    got = run(browser, world, demo, """
        await command(session, '!open uni 2 1000');
        const unis = [];
        for (let i = 0; i < 2; i++)
          unis.push(await wire.readAll(await wire.next(session.incomingUnidirectionalStreams)));
        await command(session, '!open bidi 1');
        const stream = await wire.next(session.incomingBidirectionalStreams);
        const reading = wire.readAll(stream.readable);
        await wire.writeAll(stream.writable, wire.bytes('and hello to you'));
        await command(session, '!send 3000000');
        const bulk = await wire.readAll(await wire.next(session.incomingUnidirectionalStreams));
        session.close();
        return { unis: unis.map((u) => [u.length, isPattern(u)]), bidi: wire.text(await reading),
                 bulk: [bulk.length, isPattern(bulk)] };
    """)
    assert got["unis"] == [[1000, True]] * 2
    assert got["bidi"] == GREETING + "and hello to you"
    assert got["bulk"] == [3000000, True]


def test_resets_and_stops(browser, world, demo):
    got = run(browser, world, demo, """
        await command(session, '!reset 42');
        const broken = await wire.next(session.incomingUnidirectionalStreams);
        const reset = await wire.outcome(wire.readAll(broken));
        await command(session, '!stop 43');
        const stream = await wire.next(session.incomingBidirectionalStreams);
        const writer = stream.writable.getWriter();
        wire.say(writer, 'x');
        const stopped = await wire.outcome(writer.closed);
        session.close();
        return { reset: reset.error.code, stopped: stopped.error.code };
    """)
    assert got == {"reset": 42, "stopped": 43}


def test_answers_reset_and_stop_with_the_same_code(browser, world, demo):
    # Firefox keeps it to itself when it cancels a unidirectional stream of the server.
    stops = browser.kind == "chromium"
    got = run(browser, world, demo, """
        const answered = async () => {
          const writer = (await session.createUnidirectionalStream()).getWriter();
          await writer.write(wire.bytes('x'));
          const reader = (await wire.next(session.incomingUnidirectionalStreams)).getReader();
          await reader.read();
          return { reader, writer };
        };
        const first = await answered();
        first.writer.abort(wire.streamError(11)).catch(() => {});
        const reset = await wire.outcome(first.reader.read());
        const second = await answered();
        second.reader.cancel(wire.streamError(12)).catch(() => {});
        const stopped = args.stops ? await wire.outcome(second.writer.closed) : null;
        session.close();
        return [reset.error.code, stopped && stopped.error.code];
    """, stops=stops)
    assert got == [11, 12 if stops else None]


def test_sends_datagrams(browser, world, demo):
    got = run(browser, world, demo, """
        const reader = session.datagrams.readable.getReader();
        const first = reader.read();
        await command(session, '!datagrams 1 100');
        const { value } = await first;
        session.close();
        return [value.length, ...value.subarray(0, 6)];
    """)
    assert got == [100, 0, 0, 0, 0, 4, 5]


def test_closes_and_aborts(browser, world, demo):
    proxy = world.proxy(demo.address)
    got = browser.run(HELPERS + """
        const close = await wire.connect(args.url, { hash: args.hash });
        const gone = () => {}; // the end may come before the command's own stream is acknowledged
        await command(close, '!close 7 so long').catch(gone);
        const abort = await wire.connect(args.url, { hash: args.hash });
        await command(abort, '!abort').catch(gone);
        return [await wire.ending(close), 'error' in await wire.ending(abort)];
    """, **proxy.at("/"))
    assert got == [{"code": 7, "reason": "so long"}, True]


def test_bytes_that_only_look_like_a_command_come_back(browser, world, demo):
    got = run(browser, world, demo, """
        const texts = [];
        for (const text of ['!nonsense', '!' + 'x'.repeat(5000)]) {
          await command(session, text);
          const answer = await wire.readAll(await wire.next(session.incomingUnidirectionalStreams));
          texts.push(wire.text(answer) === text);
        }
        session.close();
        return texts;
    """)
    assert got == [True, True]


def test_tells_the_scope(browser, world, demo):
    got = run(browser, world, demo, """
        const text = await wire.readAll(await wire.next(session.incomingUnidirectionalStreams));
        session.close();
        return JSON.parse(wire.text(text));
    """, path="/scope?a=b%20c")
    assert got["path"] == "/scope"
    assert got["query_string"] == "a=b%20c"
    assert got["headers"][0][0] == "host"
    assert got["connect_protocol"] == "webtransport"
    assert got["max_datagram_size"] > 1000


def test_greets_and_closes_in_one_go(browser, world, demo):
    proxy = world.proxy(demo.address)
    got = browser.run("""
        const session = wire.open(args.url, { hash: args.hash });
        const text = wire.text(await wire.readAll(await wire.next(
          session.incomingUnidirectionalStreams)));
        return { text, end: await wire.ending(session) };
    """, **proxy.at("/greet-close?code=9&reason=all%20said"))
    assert got == {"end": {"code": 9, "reason": "all said"}, "text": GREETING}


# --- what the page says ---

# Loads the page with fetch as in `patch`, connects, and reads its words.
CONNECT = """
    const $ = (id) => document.getElementById(id);
    const until = async (holds) => {
      while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
    };
    const settled = () => until(() => !['idle', 'connecting'].includes($('state').dataset.state));
    await settled();
"""
ANSWER = """
    return { state: $('state').dataset.state, title: $('problem').hidden ? null : $('problem-title').textContent,
             place: $('picture').dataset.broken, outcome: $('outcome').textContent };
"""


def page(browser, proxy, code):
    port = int(proxy.wait_log("listening", has="admin_port")["admin_port"])
    return browser.run(CONNECT + code + ANSWER, page=f"http://localhost:{port}/", timeout=40)


RECONNECT = "$('connect-form').requestSubmit(); await settled();"


def start(world, address):
    return world.proxy(address, listen="localhost:0", admin="localhost:0")


def test_page_application_rejects(browser, world, demo):
    got = page(browser, start(world, demo.address), """
        $('close-form').requestSubmit();
        await until(() => $('state').dataset.state === 'closed');
        $('behaviour').value = '/reject?status=403';
        $('behaviour').dispatchEvent(new Event('change'));
    """ + RECONNECT)
    assert got["title"] == "The application rejected the session"
    assert got["place"] == "application"


@pytest.mark.parametrize("options, title", [
    (["--origin", "https://example.org"], "Pages of this origin may not come"),
    (["--host", "example.org"], "Sluice does not serve this host")])
def test_page_proxy_refuses(browser, world, demo, options, title):
    proxy = world.proxy(demo.address, listen="localhost:0", admin="localhost:0", arguments=options)
    got = page(browser, proxy, "")
    assert (got["title"], got["place"], got["state"]) == (title, "proxy", "failed")


def test_page_application_is_not_running(browser, world, directory):
    got = page(browser, start(world, f"unix:{directory}/nobody.sock"), "")
    assert got["title"] == "The application is not running"
    assert got["place"] == "back"
    assert got["state"] == "failed"


def test_page_application_crashes(browser, world, demo):
    got = page(browser, start(world, demo.address), """
        $('close-form').requestSubmit();
        await until(() => $('state').dataset.state === 'closed');
        $('behaviour').value = '/crash';
        $('behaviour').dispatchEvent(new Event('change'));
    """ + RECONNECT + "await until(() => $('outcome').textContent);")
    assert got["title"] is None
    assert "the application" in got["outcome"]


def test_page_certificate_is_another(browser, world, demo):
    got = page(browser, start(world, demo.address), """
        $('close-form').requestSubmit();
        await until(() => $('state').dataset.state === 'closed');
        const fetched = window.fetch;
        window.fetch = async (path, options) => path !== 'certificate.json' ? fetched(path, options)
          : new Response(JSON.stringify({ hashes: ['00'.repeat(32)], urls: [$('address').value] }));
    """ + RECONNECT)
    assert got["title"] == "The browser did not trust the certificate"
    assert got["place"] == "front"


def test_page_nothing_reaches_the_proxy(browser, world, demo):
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as silent:
        silent.bind(("127.0.0.1", 0))
        got = page(browser, start(world, demo.address), """
            $('close-form').requestSubmit();
            await until(() => $('state').dataset.state === 'closed');
            $('address').value = 'https://127.0.0.1:%d/';
        """ % silent.getsockname()[1] + RECONNECT)
    assert got["title"] == "No packet reached the proxy"
    assert got["place"] == "front"
