"""Starts the demo application and the proxy in front of it, and ends both together.

make run calls this after the build. It looks first whether the addresses are free, so that a taken
port is one clear sentence, then waits until the proxy answers on its admin listener before it
prints where to look.
"""

import argparse
import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
START_SECONDS = 20


def fail(sentence):
    sys.exit(f"run: {sentence}")


def check_free(kind, host, port, hint):
    """Ends the program if nobody could listen on host:port."""
    name = "UDP" if kind == socket.SOCK_DGRAM else "TCP"
    try:
        found = socket.getaddrinfo(host, port, type=kind, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        fail(f"the address {host}:{port} cannot be used: {error.strerror}.")
    for family, _, _, _, address in found:
        try:
            probe = socket.socket(family, kind)
        except OSError:
            continue  # this machine has no such family, IPv6 perhaps
        with contextlib.closing(probe):
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError as error:
                if error.errno in (98, 13):
                    fail(f"{name} port {port} cannot be used: {error.strerror}. Try {hint}.")


def split_address(text):
    host, _, port = text.rpartition(":")
    if not port.isdigit():
        fail(f"'{text}' is not an address: HOST:PORT is expected.")
    return host.strip("[]"), int(port)


def healthy(url):
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return answer.status == 200
    except urllib.error.HTTPError:
        return False
    except OSError:
        return False


def wait_until(condition, children):
    """Waits until condition() is true. Ends the program if a child ends first."""
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        for name, child in children.items():
            if child.poll() is not None:
                fail(f"{name} ended at once (status {child.returncode}); its reason is above.")
        if time.monotonic() > deadline:
            fail(f"nothing answered within {START_SECONDS} seconds.")
        time.sleep(0.05)


def end(children):
    """The proxy first, so that it can say goodbye to clients and application."""
    for child in reversed(list(children.values())):
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=5)
        if child.poll() is None:
            child.kill()
            child.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=4433)
    parser.add_argument("--admin", default="localhost:8080")
    parser.add_argument("--build", default="build", help="folder with the built programs")
    options = parser.parse_args()

    build = (ROOT / options.build).resolve()
    host, admin_port = split_address(options.admin)
    check_free(socket.SOCK_DGRAM, None, options.port, "make run PORT=4434")
    check_free(socket.SOCK_STREAM, host, admin_port, "make run ADMIN=localhost:8081")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

    children = {}
    with tempfile.TemporaryDirectory(prefix="sluice-demo-") as folder, contextlib.ExitStack() as stack:
        stack.callback(end, children)
        app = os.path.join(folder, "app.sock")
        print("starting the demo application and the proxy...", flush=True)
        # Own process groups: Ctrl-C reaches this program only, which then ends them in order.
        children["the demo application"] = subprocess.Popen(
            [build / "backends/c/sluice-demo", "--bind", f"unix:{app}"], start_new_session=True)
        wait_until(lambda: os.path.exists(app), children)
        children["the proxy"] = subprocess.Popen(
            [build / "proxy/sluice", "--listen", f":{options.port}", "--cert", "auto",
             "--app", f"unix:{app}", "--admin", options.admin, "--drain-timeout", "1s"],
            start_new_session=True)
        wait_until(lambda: healthy(f"http://{options.admin}/healthz"), children)
        print(f"\n  demo page     http://{options.admin}/"
              f"\n  WebTransport  https://localhost:{options.port}/"
              "\n\nOpen the demo page in Chromium or Firefox. Ctrl-C ends both.\n", flush=True)
        while True:
            for name, child in children.items():
                if child.poll() is not None:
                    fail(f"{name} ended (status {child.returncode}); its reason is above.")
            time.sleep(0.2)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("\nended.")
