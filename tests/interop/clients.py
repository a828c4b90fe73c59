"""The clients of the interoperability tests. To add one, add an entry to CLIENTS.

A client is a program, started in its folder under tests/interop as

    PROGRAM --url https://localhost:PORT/interop --ca CERT.pem --hash SHA256HEX

(of the last two it uses what it can). It tries each feature and prints a line of JSON for each:

    {"feature": "bidi", "result": "pass" | "fail" | "none", "why": "..."}

none: the client's API has no such thing, and why says so. A pass may have a why, too: a remark.
A line {"version": "1.2.3"} says which version of the library it is. It ends with 0 after the last one,
and no feature takes longer than 20 seconds.
"""

import dataclasses

# name: what it means, in the order of the table.
FEATURES = {
    "connect": "session accepted",
    "bidi": "1 MB there and back on a bidirectional stream",
    "uni": "100 kB on unidirectional streams, one each way",
    "server_bidi": "bidirectional stream that the server opens",
    "server_uni": "unidirectional stream that the server opens",
    "datagram": "datagram there and back",
    "reset": "client resets a stream: the application sees the code",
    "stop": "client stops a stream: the application sees the code",
    "server_reset": "application resets a stream: the client sees the code",
    "server_stop": "application stops a stream: the client sees the code",
    "close": "client closes the session: code and reason",
    "server_close": "application closes the session: code and reason",
    "reject": "404 is a failed session",
    "drain": "application asks the client to finish",
}


@dataclasses.dataclass
class Client:
    name: str
    command: list  # {out} is the folder that build fills; {python} the Python with aioquic
    package: str = ""  # as the table calls it, if not by the name
    folder: str = "."  # where build and command run, under tests/interop
    build: list = dataclasses.field(default_factory=list)  # commands, each a list; {out} as above
    needs: str = ""  # the programs that build needs, told if they are missing
    quick: bool = False  # is in make test
    # For a client that may not be able to use this server: what it says then (a regular expression). It
    # has passed if it says so, and the rest of it is left out.
    refuses: str = ""
    because: str = ""  # why that is so


def rust(name):
    """A program of the folder rust, which builds all of its programs at once."""
    target = "{out}/../rust"
    return Client(name, [f"{target}/debug/{name}"], folder="rust", needs="cargo and rustc, 1.88 or newer",
                  build=[["cargo", "build", "--quiet", "--target-dir", target]])


def go(version, module_file, tags="-", **more):
    """webtransport-go, of which each version has its own module file in go/."""
    build = ["env", "GOTOOLCHAIN=auto", "go", "build", f"-modfile={module_file}", "-tags", tags,
             "-o", "{out}/client", "."]
    return Client(f"webtransport-go-{version}", ["{out}/client"], "webtransport-go", "go", [build],
                  "go 1.21 or newer", **more)


NO_RESET_STREAM_AT = {
    "refuses": "server didn't enable QUIC stream reset partial delivery",
    "because": "it needs RESET_STREAM_AT, which the ngtcp2 that Sluice is built with does not have"}

CLIENTS = [
    Client("chromium", ["{python}", "browser_client.py", "chromium"], package="Chromium"),
    Client("firefox", ["{python}", "browser_client.py", "firefox"], package="Firefox"),
    Client("aioquic", ["{python}", "aioquic_client.py"], quick=True),
    go("0.10", "0.10.mod"),
    go("0.11", "0.11.mod"),
    go("0.12", "0.12.mod", "transport", **NO_RESET_STREAM_AT),
    go("0.13", "go.mod", "transport", **NO_RESET_STREAM_AT),
    rust("wtransport"),
    rust("web-transport-quinn"),
    Client("pywebtransport", ["{out}/python", "pywebtransport_client.py"],
           build=[["./pywebtransport.sh", "{out}", "{python}"]], needs="Python 3.12, or mmdebstrap"),
]
