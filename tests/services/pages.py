"""Scenarios of browsers that speak a service's protocol."""

import pathlib

SPEAK = (pathlib.Path(__file__).parent / "speak.js").read_text(encoding="utf-8")


def start(browser, script, proxy, **args):
    """As Browser.start does, with what is in speak.js and with `session`, which it closes."""
    return browser.start(f"""{SPEAK}
        const session = await wire.connect(args.url, {{ hash: args.hash }});
        try {{
          return await (async () => {{ {script} }})();
        }} finally {{
          session.close();
        }}
    """, timeout=60, **proxy.at("/"), **args)


def run(browser, script, proxy, **args):
    return start(browser, script, proxy, **args).result()
