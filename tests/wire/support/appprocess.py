"""An application in a process of its own, which may be killed: an echo that says its name.

    appprocess.py PATH NAME     listens at a Unix socket, prints "ready", and runs until it is killed
"""

import os
import signal
import subprocess
import sys

if __name__ == "__main__":
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from support.rawapp import RawApp, echo


class AppProcess:
    def __init__(self, directory, name):
        self.name = name
        self.path = os.path.join(directory, f"{name}.sock")
        self.address = f"unix:{self.path}"
        self.process = None
        self.start()

    def start(self):
        """Returns when it listens."""
        self.process = subprocess.Popen([sys.executable, __file__, self.path, self.name],
                                        stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"

    def kill(self):
        """As kill -9 does it."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
        self.process = None


def name_of(session):
    """The application that accepted a client's session."""
    return dict(session.headers).get(b"app", b"").decode()


def main(path, name):
    def serve(session):
        accept = session.accept
        session.accept = lambda: accept(headers=[[b"app", name.encode()]])
        echo(session)
    if os.path.exists(path):
        os.unlink(path)
    RawApp(path, serve)
    print("ready", flush=True)
    signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
