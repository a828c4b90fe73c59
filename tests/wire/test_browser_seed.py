"""The document that the project began from: its example application, byte for byte, answers a
browser through `python -m sluice`."""

import os
import re
import sys

import pytest

from support.proxy import BINARY, ROOT, Logged

HERE = os.path.dirname(os.path.abspath(__file__))

TALK = """
    const session = await wire.connect(args.url, { hash: args.hash });
    const stream = await session.createBidirectionalStream();
    const writer = stream.writable.getWriter();
    const reader = stream.readable.getReader();
    await writer.write(wire.bytes('Hello!'));
    const first = wire.text((await reader.read()).value);
    await writer.close();
    let rest = '';
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      rest += wire.text(value);
    }
    session.close();
    return { first, rest };
"""
# The end of a stream is a message of its own, which the example echoes as well.
SAID = {"first": "Echo: Hello!", "rest": "Echo: "}


def python_sluice(*arguments):
    path = os.pathsep.join([os.path.join(ROOT, "backends", "python"), os.path.join(HERE, "apps")])
    return Logged([sys.executable, "-m", "sluice", "seed_example:app", *arguments],
                  env={**os.environ, "PYTHONPATH": path, "SLUICE": BINARY}, cwd=HERE)


def stop(process, code=0):
    process.terminate()
    try:
        assert process.process.wait(30) == code, process.log()
    finally:
        if process.process.poll() is None:
            process.process.kill()
            process.process.wait()


def test_the_example_is_the_documents():
    """A change here would make the tests below worthless."""
    with open(os.path.join(HERE, "apps", "seed_example.py"), encoding="utf-8") as file:
        text = file.read()
    assert text.startswith('async def app(scope, receive, send):\n    if scope["type"] == ')
    assert "sluice" not in text


def test_behind_a_proxy_of_ones_own(browser, world):
    path = f"{world.directory}/seed.sock"
    app = python_sluice("--bind", f"unix:{path}")
    try:
        app.wait_line(re.escape(path))
        proxy = world.proxy(f"unix:{path}")
        assert browser.run(TALK, **proxy.at("/webtransport")) == SAID
    finally:
        stop(app)


@pytest.mark.parametrize("cert", [(), ("--cert", "auto")], ids=["", "cert auto"])
def test_as_the_whole_thing_in_one_call(browser, cert):
    whole = python_sluice("--listen", "127.0.0.1:0", *cert)
    try:
        whole.learn_address()
        assert browser.run(TALK, **whole.at("/webtransport")) == SAID
    finally:
        stop(whole)
    assert not [line for line in whole.events if line["event"] == "leak"]
