"""Features with a headless browser: browser_client.py chromium|firefox --url ... --hash ...

The driver and the page are those of tests/wire, what the page does is in browser_features.js.
"""

import argparse
import base64
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "wire"))

# pylint: disable=wrong-import-position
from clients import FEATURES
from support.browsers import KINDS, Browser, PageServer, ScenarioFailed

PATIENCE = 18


def tell(**line):
    print(json.dumps(line), flush=True)


def run(browser, feature, script, **args):
    try:
        done = browser.run(script, timeout=PATIENCE, feature=feature, kind=browser.kind, **args)
        tell(feature=feature, result=done["result"], why=done.get("why", ""))
    except ScenarioFailed as error:
        # Without the browser's name before it and the stack behind it.
        said = str(error).split(": ", 1)[1].splitlines()[0]
        tell(feature=feature, result="fail", why="no answer" if "no answer" in said else said)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--url", required=True)
    parser.add_argument("--ca")
    parser.add_argument("--hash", required=True)
    options = parser.parse_args()
    digest = base64.b64encode(bytes.fromhex(options.hash)).decode()
    script = (HERE / "browser_features.js").read_text(encoding="utf-8")
    server = PageServer()
    browser = Browser(options.kind, server.url)
    try:
        tell(version=browser.major)
        for feature in FEATURES:
            run(browser, feature, script, url=options.url, hash=digest)
    finally:
        browser.stop()
        server.stop()


main()
