"""The services, as Debian has them: each started by the test that uses it in a folder of its own, on a
free port of 127.0.0.1 or a Unix socket, with nothing of the machine's own configuration.

`address` and the like are what a bridge's configuration takes; the rest asks the service itself, past
Sluice.
"""

import getpass
import glob
import grp
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

STARTS = 3  # a port that was free may be taken when the service asks for it
PATIENCE = 30
LOCAL = "127.0.0.1"


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((LOCAL, 0))
        return probe.getsockname()[1]


def program(name, *folders):
    found = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin", *folders]))
    assert found, f"{name} is not installed: tests/support/setup.sh services"
    return found


def until(condition, what):
    """Asks until it is true; returns its value."""
    end = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < end, f"{what}: did not happen"
        time.sleep(0.02)
    return value


def run(*command, text=True, status=0, **options):
    """What a program prints; it must end with this status (None: any but 0)."""
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=text, timeout=120, check=False, **options)
    assert done.returncode == status if status is not None else done.returncode, \
        f"{command[0]}: status {done.returncode}: {done.stderr or done.stdout[-2000:]!r}"
    return done.stdout


def curl(port, path, *words):
    return run(program("curl"), "-sS", "--fail", "--noproxy", "*", *words, f"http://{LOCAL}:{port}{path}", text=False)


class Server:
    user = None  # who runs it, if not we

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="sluice-service-")
        if self.user:
            shutil.chown(self.folder, self.user)
        self.process = None
        try:
            self.prepare()
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self):
        for attempt in range(STARTS):
            with open(self.path("log"), "ab") as log:
                self.process = subprocess.Popen(
                    self.command(), cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    **self.identity())
            until(lambda: self.process.poll() is not None or self.ready(), f"{self.name} starts")
            if self.process.poll() is None:
                return
            assert attempt < STARTS - 1, f"{self.name} does not start:\n{self.log()}"

    @property
    def name(self):
        return type(self).__name__

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text, mode=0o644):
        with open(self.path(name), "w", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, mode)) \
                as file:
            file.write(text)
        return self.path(name)

    def identity(self):
        return {"user": self.user, "group": self.user, "extra_groups": []} if self.user else {}

    # What a service is: files made once, its command (with another port at each attempt), and how
    # one sees that it listens.

    def prepare(self):
        pass

    def command(self):
        raise NotImplementedError

    def ready(self):
        return self.accepts(self.port)

    def accepts(self, port):
        with socket.socket() as probe:  # which may find itself, if nobody listens
            return probe.connect_ex((LOCAL, port)) == 0 and probe.getsockname() != probe.getpeername()

    @property
    def address(self):
        return f"tcp:{LOCAL}:{self.port}"

    def log(self):
        try:
            with open(self.path("log"), encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def wait_log(self, pattern):
        """The match of the first line of its log that has one."""
        return until(lambda: re.search(pattern, self.log()), f"{self.name} logs {pattern}")

    end_signal = signal.SIGTERM

    def stop(self):
        """Its log can be read afterwards, its folder is gone."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(self.end_signal)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        last = self.log()
        self.log = lambda: last
        shutil.rmtree(self.folder, ignore_errors=True)


class Redis(Server):
    def command(self):
        self.port = free_port()
        return [program("redis-server"), "--port", str(self.port), "--bind", LOCAL, "--save", "",
                "--appendonly", "no", "--dir", self.folder]

    def ask(self, *words):
        return run(program("redis-cli"), "-p", self.port, *words).strip()

    def calls(self, command):
        """How often it has been asked this."""
        found = re.search(rf"cmdstat_{command}:calls=(\d+)", self.ask("INFO", "commandstats"))
        return int(found[1]) if found else 0

    def subscribers(self, channel):
        return int(self.ask("PUBSUB", "NUMSUB", channel).split()[1])


class PostgreSQL(Server):
    """With a user who needs his password. It does not run as root."""

    user = "postgres" if os.geteuid() == 0 else None
    end_signal = signal.SIGINT  # without waiting for clients
    role, password, database = "sluice", "correct horse battery staple", "postgres"

    def tool(self, name):
        folders = sorted(glob.glob("/usr/lib/postgresql/*/bin"),
                         key=lambda folder: int(folder.split("/")[-2]))
        return program(name, *folders[-1:])

    def prepare(self):
        secret = self.write("password", self.password)
        if self.user:
            shutil.chown(secret, self.user)
        run(self.tool("initdb"), "-D", self.path("data"), "-U", self.role, "-A", "scram-sha-256",
            "--pwfile", secret, "-E", "UTF8", "--locale", "C", "--no-sync", cwd=self.folder, **self.identity())

    def command(self):
        self.port = free_port()
        return [self.tool("postgres"), "-D", self.path("data"), "-p", str(self.port),
                "-c", f"listen_addresses={LOCAL}", "-c", f"unix_socket_directories={self.folder}",
                "-c", "fsync=off", "-c", "log_connections=on", "-c", "log_statement=all",
                "-c", "log_line_prefix=%a ", "-c", "logging_collector=off"]

    def ready(self):
        return subprocess.run([self.tool("pg_isready"), "-q", "-h", LOCAL, "-p", str(self.port)],
                              check=False).returncode == 0

    def arguments(self, port):
        return ["-h", LOCAL, "-p", str(port), "-U", self.role]

    def environment(self, **more):
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return {**clean, "PGPASSWORD": self.password, "HOME": self.folder, **more}

    def psql(self, query, port=None, stdin=None, status=0, **environment):
        """Straight to it, or by another port."""
        return run(self.tool("psql"), *self.arguments(port or self.port), "-XAtq", "-v", "ON_ERROR_STOP=1",
                   "-d", self.database, "-c", query, input=stdin, status=status,
                   env=self.environment(**environment))


class OpenSSH(Server):
    """Lets in who has the key."""

    def prepare(self):
        for name in ("host_key", "key"):
            run(program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", self.path(name))
        shutil.copy(self.path("key.pub"), self.path("authorized_keys"))
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # where it locks itself up

    def command(self):
        self.port = free_port()
        self.write("sshd_config", f"""
            ListenAddress {LOCAL}
            Port {self.port}
            HostKey {self.path("host_key")}
            AuthorizedKeysFile {self.path("authorized_keys")}
            PidFile none
            StrictModes no
            UsePAM no
            PasswordAuthentication no
            KbdInteractiveAuthentication no
            LogLevel DEBUG1
        """)
        return [program("sshd"), "-D", "-e", "-f", self.path("sshd_config")]

    def client(self, port, *words):
        """A command of ssh that goes to this port and trusts nobody else."""
        with open(self.path("host_key.pub"), encoding="ascii") as key:
            self.write("known_hosts", f"[{LOCAL}]:{port} {key.read()}")
        options = {"UserKnownHostsFile": self.path("known_hosts"), "StrictHostKeyChecking": "yes",
                   "IdentitiesOnly": "yes", "BatchMode": "yes", "GlobalKnownHostsFile": "none"}
        return [program("ssh"), "-F", "none", "-i", self.path("key"), "-p", str(port), "-T",
                *(f"-o{name}={value}" for name, value in options.items()),
                *words[:-1], f"{getpass.getuser()}@{LOCAL}", words[-1]]


class Mosquitto(Server):
    def command(self):
        self.port = free_port()
        me = pwd.getpwuid(os.geteuid()).pw_name
        self.write("mosquitto.conf", f"listener {self.port} {LOCAL}\nallow_anonymous true\nuser {me}\n"
                                     "persistence false\nlog_dest stderr\nlog_type all\n")
        return [program("mosquitto"), "-c", self.path("mosquitto.conf")]


class Nginx(Server):
    """At `port` it expects the PROXY protocol's header, at `tls_port` TLS after it; at `socket` neither."""

    tls_name = "service.example"

    def prepare(self):
        self.certificate = self.path("cert.pem")
        run(program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-days", 2, "-subj", f"/CN={self.tls_name}", "-addext", f"subjectAltName=DNS:{self.tls_name}",
            "-keyout", self.path("key.pem"), "-out", self.certificate)
        os.mkdir(self.path("root"))
        self.content = os.urandom(10_000_000)
        with open(self.path("root/file"), "wb") as file:
            file.write(self.content)

    def command(self):
        self.port, self.tls_port = free_port(), free_port()
        self.socket = self.path("http.sock")
        me = pwd.getpwuid(os.geteuid()).pw_name
        self.write("nginx.conf", f"""
            {f"user {me};" if os.geteuid() == 0 else ""}
            daemon off;
            pid {self.path("nginx.pid")};
            worker_processes 1;
            error_log stderr info;
            events {{ worker_connections 512; }}
            http {{
                log_format seen '$remote_addr $remote_port $proxy_protocol_addr $proxy_protocol_port '
                                '$proxy_protocol_server_addr $proxy_protocol_server_port '
                                '$ssl_protocol $ssl_server_name "$request" $status $body_bytes_sent';
                access_log {self.path("access")} seen;
                client_body_temp_path {self.path("body")};
                proxy_temp_path {self.path("proxy")};
                fastcgi_temp_path {self.path("fastcgi")};
                uwsgi_temp_path {self.path("uwsgi")};
                scgi_temp_path {self.path("scgi")};
                root {self.path("root")};
                ssl_certificate {self.certificate};
                ssl_certificate_key {self.path("key.pem")};
                server {{
                    listen {LOCAL}:{self.port} proxy_protocol;
                    listen {LOCAL}:{self.tls_port} ssl proxy_protocol;
                    set_real_ip_from {LOCAL};
                    real_ip_header proxy_protocol;
                }}
                server {{
                    listen unix:{self.socket};
                }}
            }}
        """)
        return [program("nginx"), "-c", self.path("nginx.conf"), "-p", self.folder, "-e", "stderr"]

    @property
    def tls_address(self):
        return f"tcp:{LOCAL}:{self.tls_port}"

    @property
    def unix_address(self):
        return f"unix:{self.socket}"

    def wait_access(self, request):
        """The line of its access log about this request, as words."""
        return until(lambda: next((line for line in self.accesses() if f'"{request}"' in " ".join(line)), None),
                     f"nginx logs {request}")

    def accesses(self):
        """The lines of its access log, as words."""
        with open(self.path("access"), encoding="utf-8") as file:
            return [line.split() for line in file]


class HAProxy(Server):
    """Expects the PROXY protocol's header, and answers with what it has learnt from it."""

    def command(self):
        self.port = free_port()
        learnt = "%[src] %[src_port] %[dst] %[dst_port] %[fc_pp_authority] %[fc_pp_unique_id]"
        self.write("haproxy.cfg", f"""
            defaults
                mode http
                log stderr format raw daemon
                log-format "%HU {learnt}"
                timeout client 30s
                timeout server 30s
                timeout connect 30s
            frontend learnt
                bind {LOCAL}:{self.port} accept-proxy
                http-request return status 200 content-type text/plain lf-string "{learnt}"
        """.replace("\n            ", "\n").rstrip() + "\n")
        return [program("haproxy"), "-db", "-f", self.path("haproxy.cfg")]


class Dnsmasq(Server):
    """Knows the names that it is told here; other servers are not asked."""

    text = [letter * 200 for letter in "abcd"]

    def command(self):
        self.port = free_port(socket.SOCK_DGRAM)
        me, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
        return [program("dnsmasq"), "--keep-in-foreground", "--conf-file=/dev/null", f"--port={self.port}",
                f"--listen-address={LOCAL}", "--bind-interfaces", "--no-resolv", "--no-hosts", "--pid-file",
                f"--user={me}", f"--group={group}", "--log-facility=-", "--log-queries=extra",
                "--host-record=one.sluice.test,192.0.2.7",
                f"--txt-record=long.sluice.test,{','.join(self.text)}"]

    @property
    def udp_address(self):
        return f"udp:{LOCAL}:{self.port}"
