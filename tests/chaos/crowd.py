"""Clients that come, work and go while something else happens, each in a thread of its own.

Whatever goes wrong for one of them is kept, and raised in the test by check().
"""

import threading

from support.quicclient import Client

TIMEOUT = 60


def echoed(client, session, words):
    """Sends words on a stream and takes them back."""
    stream = session.open(data=words, end=True)
    client.wait(lambda: stream.ended or session.ended or client.terminated, timeout=TIMEOUT)
    assert stream.ended and bytes(stream.data) == words, \
        f"{len(stream.data)} of {len(words)} bytes; closed {session.closed}, {client.terminated}"


def come(proxy, path="/"):
    client = Client(proxy.port, wait=False)
    client.wait(lambda: client.connected or client.terminated, timeout=TIMEOUT)
    assert not client.terminated, f"handshake: {client.terminated}"
    session = client.session(path)
    client.wait(lambda: session.headers or session.reset_code is not None or client.terminated,
                timeout=TIMEOUT)
    assert session.status == 200, f"{path}: {session.status}, {client.terminated}"
    return client, session


def leave(client, session, code=0):
    session.close(code, b"bye")
    client.wait(lambda: session.ended or client.terminated, timeout=TIMEOUT)
    client.close()


class Crowd:
    def __init__(self):
        self.failures = []
        self.done = {}  # name of a member: how often it has done its work
        self.changed = threading.Condition()
        self.stopping = threading.Event()
        self.threads = []

    def add(self, name, work, *arguments):
        """work(crowd, name, ...) in a thread; it says worked() now and then and ends when
        stopping is set."""
        def run():
            try:
                work(self, name, *arguments)
            except Exception as error:  # pylint: disable=broad-except
                self.failures.append(f"{name}: {type(error).__name__}: {error}")
            with self.changed:
                self.changed.notify_all()

        self.done[name] = 0
        thread = threading.Thread(target=run, daemon=True)
        self.threads.append(thread)
        thread.start()

    def worked(self, name):
        with self.changed:
            self.done[name] += 1
            self.changed.notify_all()

    def check(self):
        assert not self.failures, "\n".join(self.failures)

    def wait_round(self, more=1):
        """Until each member has done its work once more since this was called."""
        with self.changed:
            goal = {name: done + more for name, done in self.done.items()}
            self.changed.wait_for(
                lambda: self.failures or all(self.done[n] >= goal[n] for n in goal), TIMEOUT)
            self.check()
            assert all(self.done[n] >= goal[n] for n in goal), f"stuck: {self.done} of {goal}"

    def join(self):
        for thread in self.threads:
            thread.join(2 * TIMEOUT)
            assert not thread.is_alive()
        self.check()

    def stop(self):
        self.stopping.set()
        self.join()
