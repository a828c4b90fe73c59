"""One stuck stream among a hundred of one session: the other 99 go on as if it were not there, and
the application can still close the session with its code. With an application that honours credit,
written from the protocol's text, and with our libraries."""

import pytest
from support.stuck import MIB, Memory, Share

CODE = 77  # of the applications
APP = 32 * MIB  # of a library, for 50 windows


def measure(stage, stick, way, path="/work", stuck=1):
    memory = Memory(stage.proxy)
    bystander = stage.bystander(way, path=path, streams=99, bytes="32M", stuck=stuck)

    def begin():
        bystander.say(stick)
        bystander.expect("stuck")
        stage.wait_still()

    def end():
        bystander.say("unstick")
        bystander.expect("unstuck")

    Share(bystander).measure(begin, end, 0.5)
    memory.check(32 * MIB)  # --session-memory and --connection-memory
    begin()
    bystander.say("close")
    assert stage.lost(bystander) == CODE
    end = stage.app.told()
    assert (end["code"], end["by"], end["clean"]) == (CODE, "app", True)


@pytest.mark.parametrize("app", ["text", "python", "c"])
def test_one_stream_that_the_client_does_not_read(stage, app):
    stage.start(app=app)
    measure(stage, "stick", "down")


@pytest.mark.parametrize("app", ["text", "python", "c"])
def test_one_stream_that_the_application_does_not_read(stage, app):
    stage.start(app=app)
    measure(stage, "stick-up", "up", "/work?window=131072")


@pytest.mark.parametrize("app", ["text", "python", "c"])
def test_fifty_streams_that_the_application_does_not_read(stage, app):
    """They cost a window each, of the library's and of the proxy's, and no more."""
    stage.start(app=app)
    memory = Memory(stage.app)
    measure(stage, "stick-up", "up", "/work?window=131072", stuck=50)
    memory.check(APP)
