"""The image, built from a bare Debian and run as compose.yaml runs it: a browser echoes through it."""

import base64
import json
import os
import pathlib
import shutil
import socket
import sys
import time
import urllib.error
import urllib.request

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(pathlib.Path(__file__).parent), str(ROOT / "tests/wire")]

import engine  # noqa: E402
from support.browsers import Browser, PageServer  # noqa: E402

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: debootstrap and containers")


def free_port(kind):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, what, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {seconds} seconds"
        time.sleep(0.05)


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


@pytest.fixture(scope="module")
def containers():
    opened = engine.open_engine()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def image(containers, tmp_path_factory):
    engine.make_base(containers, "sluice-base:test")
    context = tmp_path_factory.mktemp("context")
    for name in ("proxy", "protocol", "backends/c", "tests/support", "Dockerfile", "meson.build",
                 "meson_options.txt"):
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        copy(source, context / name)
    base = "localhost/sluice-base:test" if isinstance(containers, engine.Podman) \
        else "sluice-base:test"
    containers.build(context, "sluice:test", base)
    return "sluice:test"


@pytest.fixture(scope="module")
def demo(containers, image):
    """Both containers, joined by a volume that belongs to the image's own user."""
    udp, tcp = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_STREAM)
    volume = "sluice-socket:/run/sluice"
    containers.start_container(image, "sluice-app", "--bind", "unix:/run/sluice/app.sock",
                               volume=volume, entrypoint="sluice-demo")
    containers.start_container(image, "sluice-proxy", "--listen", f":{udp}", "--cert", "auto",
                               "--app", "unix:/run/sluice/app.sock", "--admin", f"0.0.0.0:{tcp}",
                               volume=volume, env=[f"SLUICE_ADMIN_PORT={tcp}"])
    admin = f"http://localhost:{tcp}"
    try:
        wait_for(lambda: get(f"{admin}/healthz")[0] == 200, "answer on /healthz")
    except AssertionError:
        for name in ("sluice-app", "sluice-proxy"):
            print(f"{name}:\n{containers.logs(name)}")
        raise
    yield {"admin": admin, "udp": udp}
    containers.remove_containers()


def test_the_image_runs_as_its_own_user(containers, demo):
    assert containers.inspect("sluice-proxy", "{{.Config.User}}") == "sluice"
    assert containers.call("exec", "sluice-proxy", "id", "-u").strip() == "10001"


def test_the_image_has_no_compiler(containers, demo):
    with pytest.raises(engine.EngineError):
        containers.call("exec", "sluice-proxy", "sh", "-c", "command -v gcc || command -v meson")


def test_the_health_check_says_healthy(containers, demo):
    wait_for(lambda: containers.healthy("sluice-proxy"), "healthy container")


def test_the_demo_page_is_served(demo):
    status, body = get(f"{demo['admin']}/")
    assert status == 200
    assert b"<html" in body.lower()


@pytest.mark.parametrize("kind", ["chromium", "firefox"])
def test_a_browser_echoes_through_the_container(demo, kind):
    status, body = get(f"{demo['admin']}/certificate.json")
    assert status == 200
    page = PageServer()
    browser = Browser(kind, page.url)
    try:
        result = browser.run("""
            const session = await wire.connect(args.target, { hash: args.hash });
            const data = wire.pattern(1 << 20, 5);
            const stream = await session.createBidirectionalStream();
            const [, back] = await Promise.all([
              wire.writeAll(stream.writable, data), wire.readAll(stream.readable)]);
            session.close();
            return { length: back.length, same: wire.same(data, back) };
        """, timeout=60, target=f"https://127.0.0.1:{demo['udp']}/", hash=hash_of(body))
    finally:
        browser.stop()
        page.stop()
    assert result == {"length": 1 << 20, "same": True}


def hash_of(certificate_json):
    """The newest published hash as the browser scenarios take it: base64."""
    text = json.loads(certificate_json)["hashes"][0]
    return base64.b64encode(bytes.fromhex(text.replace(":", ""))).decode()


def test_stopping_the_proxy_is_orderly(containers, demo):
    containers.call("stop", "-t", "20", "sluice-proxy")
    assert containers.inspect("sluice-proxy", "{{.State.ExitCode}}") == "0"
