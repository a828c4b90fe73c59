"""One proxy for many hostile tests, and a bystander whose session must not notice any of them."""

import queue
import shutil
import tempfile
import os

import pytest

from support.proxy import GAUGES, Proxy
from support.quicclient import Client
from support.rawapp import RawApp
from support.rawclient import RawClient

IDLE = 600  # seconds
ALONE = {"connections": 1, "requests": 1, "sessions": 1, "links": 1}


def next_of(client, session):
    """The application's next message; meanwhile the client's packets move."""
    client.wait(lambda: not session.inbox.empty())
    return session.next()


def told(client, session, kind, **fields):
    """The next message of this type and with these fields; others are skipped."""
    while True:
        message = next_of(client, session)
        assert message is not None, (session.seen[-5:], client.terminated)
        if message["type"] == kind and all(message.get(k) == v for k, v in fields.items()):
            return message


def received(client, session, stream_id):
    """All of a stream until its end."""
    data = bytearray()
    while True:
        message = told(client, session, "webtransport.stream.receive", stream_id=stream_id)
        data += message["data"]
        if message["stream_ended"]:
            return bytes(data)


def ended(client, session):
    """The last message."""
    last = None
    while (message := next_of(client, session)) is not None:
        last = message
    return last


class Scene:
    def __init__(self, *arguments, workers=None, close_timeout=None):
        """close_timeout: how long a connection stays when its last session has ended."""
        self.directory = tempfile.mkdtemp(prefix="sluice-")
        self.app = RawApp(os.path.join(self.directory, "app.sock"))
        options = {} if workers is None else {"workers": workers}
        if "--idle-timeout" not in arguments:  # the bystander is silent for as long as a test takes
            arguments = ("--idle-timeout", f"{IDLE}s", *arguments)
        if close_timeout:
            arguments += ("--close-timeout", close_timeout)
        self.proxy = Proxy(self.directory, self.app.address, arguments=arguments, **options)
        self.clients = []
        self.sessions = []
        self.client = Client(self.proxy.port, idle_timeout=IDLE)
        self.asked = self.client.session("/bystander")
        self.client.flush()
        self.session = self.app.session()
        self.session.accept()
        assert self.asked.wait_response() == 200
        self.next_id = 0

    def connect(self, hello=True, wait=True, **options):
        """A connection of the test's own, closed after the test."""
        client = RawClient(self.proxy.port, wait=False, **options)
        self.clients.append(client)
        if hello:  # goes out with the end of the handshake, however short --settings-timeout is
            client.hello()
        if wait:
            client.wait_connected()
        if hello and wait:
            client.settle()
        return client

    def session_of(self, client):
        """The application's end of what client has asked for."""
        client.wait(lambda: not self.app.sessions.empty())
        session = self.app.session()
        self.sessions.append(session)
        return session

    def forget_sessions(self):
        """Those that the application was asked for and that nobody has looked at."""
        while not self.no_session():
            pass

    def no_session(self):
        try:
            self.sessions.append(self.app.sessions.get_nowait())
        except queue.Empty:
            return True
        return False

    def open(self, **options):
        """(client, its CONNECT stream, the application's end), accepted."""
        client = self.connect(**options)
        asked = client.connect()
        session = self.session_of(client)
        session.accept()
        assert asked.wait_status() == 200
        return client, asked, session

    def serves(self, client):
        """This connection is still good for a session; (CONNECT stream, application's end)."""
        asked = client.connect()
        session = self.session_of(client)
        session.accept()
        assert asked.wait_status() == 200
        stream = client.wt_stream(asked.stream_id, b"ping", end=True)
        assert received(client, session, 0) == b"ping"
        session.stream_send(0, b"pong", end=True)
        client.wait(lambda: stream.ended)
        assert stream.data == b"pong"
        return asked, session

    def wait_stats(self, condition):
        """Until it holds for the proxy's statistics; meanwhile the packets of all clients move."""
        def moved():
            for client in self.clients:
                client.step()
            return condition(self.proxy.stats())
        try:
            self.client.wait(moved)
        except TimeoutError:
            raise AssertionError(f"still {self.proxy.stats()}\n{self.proxy.log()}") from None

    def clear(self):
        """Ends what a test has begun; all there was must go, and the bystander be well."""
        for client in self.clients:
            client.close()
        self.clients.clear()
        self.forget_sessions()
        for session in self.sessions:
            session.close()
        self.sessions.clear()
        self.serves_the_bystander()
        self.wait_stats(lambda s: all(s[g] == ALONE.get(g, 0) for g in GAUGES))

    def serves_the_bystander(self):
        stream = self.asked.open(data=b"ping", end=True)
        self.asked.datagram(b"ping")
        assert received(self.client, self.session, self.next_id) == b"ping"
        self.session.stream_send(self.next_id, b"pong", end=True)
        self.client.wait(lambda: stream.ended)
        assert stream.data == b"pong"
        self.next_id += 4

    def end(self):
        self.client.close()
        self.session.close()
        try:
            if self.proxy.process.poll() is None:
                self.proxy.wait_idle()
            self.proxy.stop()
        finally:
            self.proxy.kill()
            self.app.stop()
            shutil.rmtree(self.directory, ignore_errors=True)


# fixtures


def scene_of_module(*arguments):
    """One scene for all tests of a module: shared = scene_of_module(...)"""
    @pytest.fixture(scope="module")
    def shared():
        scene = Scene(*arguments)
        yield scene
        scene.end()
    return shared


def cleared(shared):
    """The scene of that fixture, for one test, which leaves nothing behind: scene = cleared("shared")"""
    @pytest.fixture
    def scene(request):
        scene = request.getfixturevalue(shared)
        yield scene
        scene.clear()
    return scene


def scene_with_options(**keywords):
    """A scene of a test's own: scene, options = scene_with_options(), and @options("--some", "thing")"""
    @pytest.fixture
    def scene(request):
        scene = Scene(*request.param, **keywords)
        yield scene
        scene.clear()
        scene.end()

    def options(*arguments):
        return pytest.mark.parametrize("scene", [arguments], indirect=True)
    return scene, options
