"""Runs tests/wire/client.c: many sessions at once, or very many streams in one session."""

import os
import subprocess

from .proxy import BUILD


class CClient:
    def __init__(self, proxy, *scenario, path="/"):
        host = f"[{proxy.host}]" if ":" in proxy.host else proxy.host
        self.process = subprocess.Popen(
            [os.path.join(BUILD, "tests", "wire", "client"), f"{host}:{proxy.port}", path,
             *map(str, scenario)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def expect(self, word):
        """The next line, which must begin with word; its `name=number` fields."""
        line = self.process.stdout.readline()
        if not line.startswith(word):
            self.process.kill()
            raise AssertionError(f"expected {word}, got {line!r}: {self.process.stderr.read()}")
        return {name: int(number) for name, _, number in
                (part.partition("=") for part in line.split()[1:]) if number}

    def go_on(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def join(self):
        code = self.process.wait(60)
        assert code == 0, f"client: exit code {code}: {self.process.stderr.read()}"

    def why(self):
        """Ends it; what it said on standard error."""
        self.process.kill()
        return self.process.stderr.read()[-2000:]

    def kill(self):
        self.process.kill()
        self.process.wait()
