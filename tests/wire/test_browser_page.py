"""The demo: its page from the admin listener, in front of the demo application, in real browsers."""

import os
import subprocess

import pytest

from support.proxy import BUILD

DEMO = os.path.join(BUILD, "backends", "c", "sluice-demo")

# What a visitor does, in the page itself. `until` looks again after every task.
HELPERS = """
    const $ = (id) => document.getElementById(id);
    const until = async (what, condition) => {
      const end = performance.now() + 40000;
      while (!condition()) {
        if (performance.now() > end) {
          throw new Error('never: ' + what + '; log: ' + $('log').innerText.slice(0, 800));
        }
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    };
    const type = (id, text) => { $(id).value = text; $(id).dispatchEvent(new Event('change')); };
    const submit = (id) => $(id).requestSubmit();
    const state = () => $('state').dataset.state;
    const connected = async () => {
      await until('connected or failed', () => ['connected', 'failed'].includes(state()));
      if (state() !== 'connected') throw new Error('state ' + state() + ': ' + $('problem').innerText);
    };
    const lane = (text) => [...document.querySelectorAll('#lanes .lane')]
      .find((l) => l.innerText.includes(text));
"""


@pytest.fixture
def demo(directory):
    """The demo application: its address."""
    path = f"{directory}/demo.sock"
    process = subprocess.Popen([DEMO, "--bind", f"unix:{path}"], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline()
    yield f"unix:{path}"
    process.terminate()
    assert process.wait(40) == 0


def visit(browser, proxy, script, **args):
    return browser.run(HELPERS + script, timeout=60,
                       page=f"http://localhost:{proxy.admin_port}/", **args)


@pytest.fixture
def proxy(world, demo):
    return world.proxy(demo, listen="localhost:0", admin="localhost:0")


def test_the_page_connects_and_echoes(browser, proxy):
    said = visit(browser, proxy, """
        await connected();
        type('say-text', 'hello from the page');
        submit('say-form');
        await until('an answer', () => lane('hello from the page'));
        await until('its end', () => lane('hello from the page').dataset.state !== 'open');
        const text = lane('hello from the page').innerText;
        $('burst').click();
        await until('the burst', () => lane('100') && lane('100').dataset.state !== 'open');
        return { text, sent: $('session-sent').textContent, problem: $('problem').hidden };
    """)
    assert "hello from the page" in said["text"]
    assert said["sent"] != "0 B"
    assert said["problem"]


def test_the_page_pings_with_datagrams(browser, proxy):
    latest = visit(browser, proxy, """
        await connected();
        $('ping').click();
        await until('a round trip', () => $('rtt-median').textContent !== '–');
        $('ping').click();
        return $('rtt-latest').textContent;
    """)
    assert "ms" in latest or "µs" in latest


def test_the_application_opens_streams_and_closes(browser, proxy):
    outcome = visit(browser, proxy, """
        await connected();
        $('ask-uni').click();
        await until('three streams', () => document.querySelectorAll('#lanes .lane').length >= 3);
        type('close-code', '42');
        type('close-reason', 'asked for');
        $('ask-close').click();
        await until('the end', () => state() !== 'connected' && !$('outcome').hidden);
        return $('outcome').innerText;
    """)
    assert "42" in outcome and "asked for" in outcome


def test_the_page_says_what_is_wrong(browser, world):
    """No application: the page tells so, in words."""
    proxy = world.proxy(f"unix:{world.directory}/absent.sock", listen="localhost:0",
                        admin="localhost:0")
    words = visit(browser, proxy, """
        await until('connected or failed', () => ['connected', 'failed'].includes(state()));
        await until('a problem', () => !$('problem').hidden);
        return $('problem').innerText;
    """)
    assert "application" in words.lower()
