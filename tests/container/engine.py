"""Podman, or else Docker, with everything it keeps in a folder of its own.

Nothing of the machine's own containers is touched. No registry is asked for anything: the base of
the image is a Debian made by debootstrap from the machine's own mirror.
"""

import contextlib
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

# netns host: a published UDP port does not work everywhere. runc with cgroupfs: works as root where
# there is no systemd.
CONTAINERS_CONF = """\
[containers]
netns = "host"
cgroups = "enabled"
default_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


class EngineError(Exception):
    pass


def run(command, env=None, stdin=None, timeout=900):
    done = subprocess.run([str(c) for c in command], env={**os.environ, **(env or {})}, text=True,
                          stdin=stdin or subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=timeout, errors="replace")
    if done.returncode != 0:
        end = "\n".join(done.stdout.splitlines()[-30:])
        raise EngineError(f"{' '.join(map(str, command[:6]))}... ended with {done.returncode}:\n{end}")
    return done.stdout


class Engine:
    """What podman and docker have in common."""

    env = {}

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sluice-container-"))
        self.containers = []
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def call(self, *arguments, **options):
        return run([*self.command, *arguments], env=self.env, **options)

    def import_base(self, tar, name):
        self.call("import", tar, name)

    def build(self, context, name, base):
        self.call("build", *self.build_options, "--network=host", f"--build-arg=BASE={base}", "-t",
                  name, context)

    def start_container(self, image, name, *arguments, volume=None, entrypoint=None, env=()):
        options = ["--network=host", "--name", name, *(f"--env={e}" for e in env)]
        if volume:
            options += ["-v", volume]
        if entrypoint:
            options += ["--entrypoint", entrypoint]
        self.call("run", "-d", *options, image, *arguments)
        self.containers.append(name)

    def logs(self, name):
        return self.call("logs", name)

    def inspect(self, name, template):
        return self.call("inspect", "--format", template, name).strip()

    def remove_containers(self):
        for name in self.containers:
            with contextlib.suppress(EngineError):
                self.call("rm", "-f", name)
        self.containers = []

    def close(self):
        with contextlib.suppress(Exception):
            self.remove_containers()
        with contextlib.suppress(Exception):
            self.stop()
        for mount in reversed(self._mounts()):
            subprocess.run(["umount", "-l", mount], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _mounts(self):
        lines = pathlib.Path("/proc/mounts").read_text().splitlines()
        points = [line.split()[1] for line in lines]
        return sorted(p for p in points if p.startswith(str(self.folder)))


class Podman(Engine):
    build_options = ["--format", "docker"]  # the other format knows no HEALTHCHECK

    def start(self):
        config = self.folder / "containers.conf"
        config.write_text(CONTAINERS_CONF)
        self.env = {"CONTAINERS_CONF": str(config)}
        failures = []
        for driver in ("overlay", "vfs"):
            self.command = ["podman", "--root", self.folder / driver, "--runroot",
                            self.folder / f"{driver}-run", "--storage-driver", driver]
            try:
                self.call("info")
                return
            except EngineError as error:
                failures.append(str(error))
        raise EngineError("\n".join(failures))

    def stop(self):
        self.call("rmi", "-a", "-f")

    def healthy(self, name):
        return subprocess.run([*map(str, self.command), "healthcheck", "run", name], check=False,
                              env={**os.environ, **self.env}, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL).returncode == 0


class Docker(Engine):
    build_options = []
    daemon = None

    def start(self):
        if not shutil.which("dockerd"):
            raise EngineError("dockerd is not installed")
        socket = self.folder / "docker.sock"
        self.command = ["docker", "-H", f"unix://{socket}"]
        self.env = {"DOCKER_BUILDKIT": "0"}
        self.daemon = subprocess.Popen(
            ["dockerd", "--data-root", self.folder / "data", "--exec-root", self.folder / "exec",
             "--pidfile", self.folder / "pid", "-H", f"unix://{socket}", "--iptables=false",
             "--ip6tables=false", "--ip-forward=false", "--ip-masq=false", "--bridge=none",
             "--storage-driver", "overlay2"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(EngineError):
                self.call("info")
                return
            if self.daemon.poll() is not None or time.monotonic() > deadline:
                raise EngineError("dockerd does not run here")
            time.sleep(0.2)

    def stop(self):
        if self.daemon and self.daemon.poll() is None:
            self.daemon.terminate()
            self.daemon.wait(30)

    def healthy(self, name):
        return self.inspect(name, "{{.State.Health.Status}}") == "healthy"


def open_engine():
    """The first engine that works here. Raises EngineError with the reasons if none does."""
    reasons = []
    for kind in (Podman, Docker):
        try:
            return kind()
        except (EngineError, OSError) as error:
            reasons.append(f"{kind.__name__}: {error}")
    raise EngineError("; ".join(reasons))


def make_base(engine, name):
    """A minimal Debian, of the release and from the mirror of this machine, as an image."""
    release, mirror = debian_release(), debian_mirror()
    folder, tar = engine.folder / "base", engine.folder / "base.tar"
    run(["debootstrap", "--variant=minbase", release, folder, mirror])
    run(["tar", "-C", folder, "-cf", tar, "."])
    shutil.rmtree(folder)
    engine.import_base(tar, name)
    tar.unlink()


def debian_release():
    for line in pathlib.Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    raise EngineError("this is no Debian")


def debian_mirror():
    out = run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages",
               f"Release: {debian_release()}", "Component: main"])
    return out.split()[0]
