"""Scenarios of browsers that speak a service's protocol."""

import pathlib

SPEAK = (pathlib.Path(__file__).parent / "speak.js").read_text(encoding="utf-8")


def start(browser, script, proxy, **args):
    """As Browser.start does, with what is in speak.js and with `session`, one of backends/js."""
    return browser.start(f"""{SPEAK}
        const {{ connect }} = await import('/backends/js/sluice.js');
        const session = await connect(args.url, {{ certificate: wire.fromBase64(args.hash) }});
        try {{
          return await (async () => {{ {script} }})();
        }} finally {{
          session.close();
        }}
    """, timeout=60, **proxy.at("/"), **args)


def run(browser, script, proxy, **args):
    return start(browser, script, proxy, **args).result()
