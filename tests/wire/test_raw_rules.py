"""Each rule of the draft broken in turn: the tables of docs/webtransport.md, line by line.

What a line says is done by the function in support/deeds*.py that carries its words; the answer is
the line's. Meanwhile another client has a session at the same proxy, which must not notice.
"""

import pathlib
import re

import pytest

import support.deeds_sessions  # pylint: disable=W0611
from support.deeds import DEEDS, STREAMS
from support.scene import Scene, ended, told

CODES = {
    "STREAM_LIMIT_ERROR": 0x4, "FLOW_CONTROL_ERROR": 0x3, "H3_DATAGRAM_ERROR": 0x33,
    "H3_GENERAL_PROTOCOL_ERROR": 0x101, "H3_STREAM_CREATION_ERROR": 0x103,
    "H3_CLOSED_CRITICAL_STREAM": 0x104, "H3_FRAME_UNEXPECTED": 0x105, "H3_FRAME_ERROR": 0x106,
    "H3_ID_ERROR": 0x108, "H3_SETTINGS_ERROR": 0x109, "H3_MISSING_SETTINGS": 0x10A,
    "H3_REQUEST_REJECTED": 0x10B, "H3_REQUEST_CANCELLED": 0x10C, "H3_MESSAGE_ERROR": 0x10E,
    "QPACK_DECOMPRESSION_FAILED": 0x200,
    "WT_BUFFERED_STREAM_REJECTED": 0x3994BD84, "WT_SESSION_GONE": 0x170D7B68,
}
TEXT = (pathlib.Path(__file__).parents[2] / "docs" / "webtransport.md").read_text("utf-8")
ROWS = [match.groups() for match in re.finditer(
    r"^\| (.+) \| ((?:connection|request|session|stream) [A-Z0-9_]+|status \d+"
    r"|ended(?: [A-Z0-9_]+)?|nothing) \|$", TEXT, re.M)]


@pytest.fixture(scope="module")
def patient_proxy():
    scene = Scene("--max-header", "4K", "--max-streams", str(STREAMS))
    yield scene
    scene.end()


@pytest.fixture(scope="module")
def hasty_proxy():
    scene = Scene("--settings-timeout", "1s")
    yield scene
    scene.end()


@pytest.fixture
def scene(request, what):
    shared = request.getfixturevalue("hasty_proxy" if DEEDS[what][1] else "patient_proxy")
    yield shared
    shared.clear()


def goes_on(case):
    """A stream of the session still reaches the application."""
    case.client.wt_stream(case.asked.stream_id, b"still here", end=True)
    while told(case.client, case.session, "webtransport.stream.receive")["data"] != b"still here":
        pass


def check(scene, case, answer):
    client, asked = case.client, case.asked
    kind, _, name = answer.partition(" ")
    code = CODES.get(name)
    if kind == "connection":
        assert client.wait_terminated() == code
        if case.session:
            assert case.session.ended()["by"] == "proxy"
        return
    if kind == "status":
        assert asked.wait_status() == int(name)
        assert scene.no_session()
    elif kind == "request":
        case.serves &= asked.wait_refused(code)
        assert scene.no_session()
    elif kind == "session":
        last = ended(client, case.session)
        assert (last["by"], last["clean"]) == ("proxy", False)
        client.wait(lambda: asked.reset_code is not None)
        assert asked.reset_code == code
    elif kind == "ended":
        assert ended(client, case.session)["by"] == "client"
        client.wait(lambda: asked.done if code is None else asked.stop_code is not None)
        assert code in (None, asked.stop_code)
    elif kind == "stream":
        client.wait(lambda: all(s.stop_code is not None if s.stream_id & 2
                                else s.reset_code is not None for s in case.streams))
        assert {s.stop_code if s.stream_id & 2 else s.reset_code
                for s in case.streams} == {code}
    if kind in ("nothing", "stream") and case.session:
        goes_on(case)
    elif case.serves:
        scene.serves(client)


@pytest.mark.parametrize("what, answer", ROWS, ids=[what for what, _ in ROWS])
def test_a_client_that(scene, what, answer):
    check(scene, DEEDS[what][0](scene), answer)


def test_every_deed_has_its_line():
    assert sorted(DEEDS) == sorted(what for what, _ in ROWS)
