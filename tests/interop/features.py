"""What the Python clients share: one feature after the other, each with its line of the contract
(clients.py)."""

import argparse
import asyncio
import json
from importlib.metadata import version

PATIENCE = 18
NAMES = ("connect", "bidi", "uni", "server_bidi", "server_uni", "datagram", "reset", "stop",
         "server_reset", "server_stop", "close", "server_close", "reject", "drain")


def tell(feature, result, why):
    print(json.dumps({"feature": feature, "result": result, "why": why or ""}), flush=True)


async def _try(client, features, name):
    """A method of the client's is a whole feature; one of features gets a session of its own."""
    try:
        whole = getattr(client, name, None)
        work = whole() if whole else client.in_session(name, getattr(features, name))
        tell(name, "pass", await asyncio.wait_for(work, PATIENCE))
    except asyncio.TimeoutError:
        tell(name, "fail", "no answer")
    except Exception as error:  # pylint: disable=broad-except
        tell(name, "fail", f"{type(error).__name__}: {error}")


async def run(client_class, features, library, needs_ca=False):
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--ca", required=needs_ca)
    parser.add_argument("--hash")
    client = client_class(parser.parse_args())
    print(json.dumps({"version": version(library)}), flush=True)
    for name in NAMES:
        await _try(client, features, name)
