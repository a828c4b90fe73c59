"""The document that the project began from: its example application, byte for byte, answers a
browser through `python -m sluice`."""

import os
import re

import pytest
from support.pylibrary import WIRE, python_sluice, stop

APP = "seed_example:app"

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


def test_the_example_is_the_documents():
    """A change here would make the tests below worthless."""
    with open(os.path.join(WIRE, "apps", "seed_example.py"), encoding="utf-8") as file:
        text = file.read()
    assert text.startswith('async def app(scope, receive, send):\n    if scope["type"] == ')
    assert "sluice" not in text


def test_behind_a_proxy_of_ones_own(browser, world):
    path = f"{world.directory}/seed.sock"
    app = python_sluice(APP, "--bind", f"unix:{path}")
    try:
        app.wait_line(re.escape(path))
        proxy = world.proxy(f"unix:{path}")
        assert browser.run(TALK, **proxy.at("/webtransport")) == SAID
    finally:
        stop(app)


@pytest.mark.parametrize("cert", [(), ("--cert", "auto")], ids=["", "cert auto"])
def test_as_the_whole_thing_in_one_call(browser, cert):
    whole = python_sluice(APP, "--listen", "127.0.0.1:0", *cert)
    try:
        whole.learn_address()
        assert browser.run(TALK, **whole.at("/webtransport")) == SAID
    finally:
        stop(whole)
    assert not [line for line in whole.events if line["event"] == "leak"]
