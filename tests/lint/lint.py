"""lint - proves that the code keeps to the architecture, on every test run.

The tables below are the architecture: who may include whom, which file may use which library, how
long things may grow. Read them as a map. Every rule prints one line, "ok NAME" or "not ok NAME"
with what it found; the exit status is 1 if a rule found something. Only Python's standard library.
"""

import ast
import dataclasses
import fnmatch
import os
import pathlib
import re
import shutil
import subprocess
import sys

# Which folder may include which. A call goes down by name; nothing below knows what is above.
FOLDERS = {
    "proxy/base": ["proxy/base"],
    "proxy/front": ["proxy/base", "proxy/front"],
    "proxy/back": ["proxy/base", "proxy/back"],
    "proxy/config": ["proxy/base", "proxy/config"],
    "protocol": ["protocol"],
    "backends/c": ["protocol", "backends/c"],
    "proxy": ["proxy", "proxy/base", "proxy/config", "proxy/page"],  # and what TOWERS allows to a module
    "proxy/page": ["proxy/page"],
}

# Inside a folder: the modules from top to bottom. A module includes only what stands in a line
# below its own, so there are no circles. h3_settings.c belongs to the module h3.
ORDER = {
    "proxy/front": [
        ["wt"],
        ["h3"],
        ["conn"],
        ["steering"],
        ["endpoint"],
        ["udp", "tls", "capsule"],
        ["packet", "intake"],
    ],
    "proxy/back": [
        ["upstream"],
        ["link", "pipe", "dgram"],
        ["dial", "health", "resolve"],
        ["sock", "pool", "proxy_protocol"],
    ],
    "proxy/config": [
        ["arguments"],
        ["reader", "check", "print"],
        ["value"],
        ["draft"],
        ["keys"],
        ["config"],
    ],
    "proxy": [
        ["main"],
        ["server", "version"],
        ["admin"],
        ["plan"],
        ["listening"],
        ["worker"],
        ["reception"],
        ["relay", "bridge"],
        ["admission"],
        ["affinity"],
        ["gate", "route", "offer"],
        ["certificate", "inbox", "address", "notify", "watch"],
    ],
}

# What the modules of proxy/ itself may use of the towers: the others nothing. Only relay and bridge
# know both; worker and server put the parts together.
TOWERS = {
    "relay": ["proxy/front/wt.h", "proxy/back/*.h", "protocol/*.h"],
    "bridge": ["proxy/front/wt.h", "proxy/back/*.h"],
    "reception": ["proxy/front/wt.h"],
    "admission": ["proxy/front/wt.h"],
    "affinity": ["proxy/front/wt.h", "proxy/back/pool.h"],
    "gate": [],
    "offer": ["protocol/message.h"],
    "worker": ["proxy/front/*.h", "proxy/back/upstream.h"],
    "listening": ["proxy/front/endpoint.h", "proxy/front/intake.h", "proxy/front/packet.h",
                  "proxy/front/steering.h", "proxy/front/udp.h"],
    "server": ["proxy/front/tls.h"],
    "certificate": ["proxy/front/tls.h"],
    "version": ["proxy/front/endpoint.h", "proxy/front/h3.h", "proxy/front/tls.h",
                "protocol/message.h"],
    "address": ["proxy/front/packet.h"],
    "inbox": ["proxy/front/packet.h"],
}

# Each library in as few files as can be: these alone may include its headers (tests may, too).
LIBRARIES = {
    "nghttp3/": ["proxy/front/h3*.c", "proxy/front/h3_internal.h"],
    "ngtcp2/": ["proxy/front/conn*.[ch]", "proxy/front/endpoint*.c", "proxy/front/tls*.c"],
    "gnutls/": ["proxy/front/tls*.c", "proxy/front/tls_internal.h", "proxy/back/pipe_tls*.c"],
    "uv.h": [
        "proxy/front/udp*.[ch]",
        "proxy/back/*.[ch]",
        "proxy/worker*.[ch]",
        "proxy/server*.[ch]",
        "proxy/watch.[ch]",
        "proxy/admin*.[ch]",
        "proxy/version.c",
    ],
    "msgpack": ["protocol/message*.[ch]"],
    "microhttpd.h": ["proxy/admin*.c"],
    "unistr.h": ["proxy/base/*.c", "proxy/front/capsule.c", "protocol/*.c"],
    "yaml.h": ["proxy/config/reader.c"],
    "uthash.h": ["proxy/*", "backends/c/*"],
}

# The C library and the kernel: free to all.
SYSTEM = """
    assert.h ctype.h dirent.h errno.h fcntl.h fnmatch.h getopt.h grp.h inttypes.h limits.h locale.h
    math.h netdb.h poll.h pthread.h pwd.h sched.h setjmp.h signal.h stdalign.h stdarg.h stdatomic.h
    stdbool.h stddef.h stdint.h stdio.h stdlib.h stdnoreturn.h string.h strings.h syslog.h time.h
    unistd.h wchar.h malloc.h endian.h ifaddrs.h arpa/* net/* netinet/* sys/* linux/* sanitizer/*
""".split()

FILE_LINES_WARN, FILE_LINES_MAX = 600, 700
FUNCTION_LINES_MAX = 60
# "file:function": why it is longer. Short of reasons is how this list should be.
LONG_FUNCTIONS = {
    "proxy/front/conn_frames.c:take_frame": "a table: each of QUIC's frame types in a line or two",
}

# Other people's files, as they published them.
VENDORED = ("examples/terminal/vendor/xterm", "examples/terminal/vendor/addon-fit")

BAD_NAMES = re.compile(r"(^|[_-])(utils?|common|helpers?|managers?|misc)($|[_.-])")
LEFTOVERS = re.compile(r"\b(TODO|FIXME|XXX)\b")
MACHINE_PATHS = re.compile(r"(?<![\w.}$)*])/(?:work|farm|root)/|(?<!\w)/home/\w|/tmp/w/")

TEXT = (".c", ".h", ".py", ".js", ".mjs", ".html", ".css", ".sh", ".md", ".build", ".yaml", ".yml",
        ".toml", ".txt", ".json")
CODE = (".c", ".h", ".py", ".js", ".mjs", ".html", ".sh")
INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)')


@dataclasses.dataclass
class Include:
    file: str
    line: int
    text: str
    quoted: bool
    target: str | None  # the file of ours that it names, None for a library's


class Tree:
    """The files of the project, by path relative to its root."""

    def __init__(self, root):
        self.root = pathlib.Path(root)
        self.files = sorted(self._list())
        self.names = set(self.files)
        self._lines = {}

    def _list(self):
        if (self.root / ".git").exists():
            out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"],
                                 cwd=self.root, stdout=subprocess.PIPE, check=True).stdout
            names = out.decode().split("\0")
        else:
            names = [str(p.relative_to(self.root)) for p in self.root.rglob("*")]
        return [n for n in names
                if n and not n.startswith(VENDORED) and (self.root / n).is_file()]

    def lines(self, name):
        if name not in self._lines:
            text = (self.root / name).read_text(encoding="utf-8", errors="replace")
            self._lines[name] = text.splitlines()
        return self._lines[name]

    def ending(self, *suffixes):
        return [f for f in self.files if f.endswith(suffixes)]

    def sources(self):
        """C files that are shipped: everything outside tests/."""
        return [f for f in self.ending(".c", ".h") if not f.startswith("tests/")]

    def includes(self, name):
        for number, line in enumerate(self.lines(name), 1):
            found = INCLUDE.match(line)
            if found:
                text = found[1] or found[2]
                yield Include(name, number, text, bool(found[1]), self._resolve(name, text))

    def _resolve(self, name, text):
        places = [os.path.dirname(name), "", "proxy"]
        if name.startswith("tests/"):
            places.append("tests")
        for path in (os.path.normpath(os.path.join(place, text)) for place in places):
            if path in self.names:
                return path
        return None


def folder_of(name):
    """The longest folder of FOLDERS that holds the file, or None."""
    for folder in sorted(FOLDERS, key=len, reverse=True):
        if name.startswith(folder + "/"):
            return folder
    return None


def module_of(name, folder):
    """h3_settings.c and h3_internal.h belong to h3."""
    known = [m for row in ORDER.get(folder, []) for m in row]
    stem = pathlib.PurePath(name).stem
    while stem not in known and "_" in stem:
        stem = stem.rpartition("_")[0]
    return stem


def rank(module, folder):
    for number, row in enumerate(ORDER[folder]):
        if module in row:
            return number
    return None


def matches(name, patterns):
    return any(fnmatch.fnmatch(name, p) for p in patterns)


def our_includes(tree):
    for name in tree.sources():
        for include in tree.includes(name):
            if include.target:
                yield include


# --- the rules: each yields "file:line: what is wrong" ---


def folder_arrows(tree):
    for i in our_includes(tree):
        here, there = folder_of(i.file), folder_of(i.target)
        if here is None or i.target.startswith("tests/"):
            continue
        if there in FOLDERS[here] and there != "proxy":
            continue
        if here == "proxy" == there:
            continue
        allowed = TOWERS.get(module_of(i.file, here), []) if here == "proxy" else []
        if not matches(i.target, allowed):
            yield f"{i.file}:{i.line}: {here} must not include {i.target}"


def module_order(tree):
    for i in our_includes(tree):
        folder = folder_of(i.file)
        if folder not in ORDER or folder_of(i.target) != folder:
            continue
        mine, other = module_of(i.file, folder), module_of(i.target, folder)
        if mine == other:
            continue
        here, there = rank(mine, folder), rank(other, folder)
        if here is None:
            yield f"{i.file}:{i.line}: the module {mine} has no place in ORDER of {folder}"
        elif there is None:
            yield f"{i.file}:{i.line}: the module {other} has no place in ORDER of {folder}"
        elif there <= here:
            yield f"{i.file}:{i.line}: {mine} must not include {other}, which is not below it"


def internal_headers(tree):
    for i in our_includes(tree):
        if i.target.endswith("_internal.h"):
            owner = i.target.removesuffix("_internal.h")
            if not re.fullmatch(re.escape(owner) + r"(_\w+)?\.[ch]", i.file):
                yield f"{i.file}:{i.line}: {i.target} is for {owner}*.c only"


def tests_stay_out(tree):
    for i in our_includes(tree):
        if i.target.startswith("tests/"):
            yield f"{i.file}:{i.line}: shipped code must not include {i.target}"


def includes_found(tree):
    for name in tree.ending(".c", ".h"):
        for i in tree.includes(name):
            if i.quoted and not i.target:
                yield f'{name}:{i.line}: there is no file "{i.text}"; libraries go in <>'


def library_containment(tree):
    for name in tree.sources():
        for i in tree.includes(name):
            if i.target or i.quoted or matches(i.text, SYSTEM):
                continue
            homes = [files for prefix, files in LIBRARIES.items() if i.text.startswith(prefix)]
            if not homes:
                yield f"{name}:{i.line}: <{i.text}> belongs to no library in LIBRARIES"
            elif not matches(name, homes[0]):
                yield f"{name}:{i.line}: only {', '.join(homes[0])} may include <{i.text}>"


def include_circles(tree):
    graph = {}
    for i in our_includes(tree):
        graph.setdefault(i.file, []).append(i.target)
    done, path = set(), []

    def visit(name):
        if name in path:
            yield " -> ".join(path[path.index(name):] + [name])
        elif name not in done:
            path.append(name)
            for target in graph.get(name, []):
                yield from visit(target)
            path.pop()
            done.add(name)

    for name in sorted(graph):
        yield from visit(name)


def file_length(tree):
    for name in tree.ending(*CODE):
        count = len(tree.lines(name))
        if count > FILE_LINES_MAX:
            yield f"{name}: {count} lines, more than {FILE_LINES_MAX}"
        elif count > FILE_LINES_WARN:
            print(f"  warning: {name} has {count} lines; part of it asks for a better place")


def c_functions(lines):
    """(name, first line, number of lines). Relies on the formatter: braces in the first column."""
    start = None
    for number, line in enumerate(lines):
        if line == "{":
            start = number
        elif line == "}" and start is not None:
            first = start
            while first > 0 and lines[first - 1].strip() and not lines[first - 1].startswith(
                    ("}", "#", "/", " *")):
                first -= 1
            found = re.search(r"(\w+)\(", " ".join(lines[first:start]))
            yield found[1] if found else "?", first + 1, number - first + 1
            start = None


def python_functions(lines):
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, node.lineno, node.end_lineno - node.lineno + 1


def function_length(tree):
    used = set()
    for name in tree.ending(".c", ".h", ".py"):
        functions = python_functions if name.endswith(".py") else c_functions
        try:
            found = list(functions(tree.lines(name)))
        except SyntaxError:
            continue  # python_compiles says so
        for function, line, count in found:
            if count > FUNCTION_LINES_MAX:
                key = f"{name}:{function}"
                used.add(key)
                if key not in LONG_FUNCTIONS:
                    yield f"{name}:{line}: {function} has {count} lines, more than {FUNCTION_LINES_MAX}"
    for key in set(LONG_FUNCTIONS) - used:
        if key.split(":")[0] in tree.names:
            yield f"{key}: is not long any more; take it out of LONG_FUNCTIONS"


def file_names(tree):
    for name in tree.files:
        if BAD_NAMES.search(pathlib.PurePath(name).name):
            yield f"{name}: a name that says nothing; name the file after what it does"


def scan(tree, pattern, sentence):
    for name in tree.files:
        if name.startswith("tests/lint/") or not name.endswith(TEXT + ("Makefile", "Dockerfile")):
            continue
        for number, line in enumerate(tree.lines(name), 1):
            found = pattern.search(line)
            if found:
                yield f"{name}:{number}: {found[0]}: {sentence}"


def no_leftovers(tree):
    yield from scan(tree, LEFTOVERS, "finish it, or write it down where others look for work")


def no_machine_paths(tree):
    yield from scan(tree, MACHINE_PATHS, "a path of somebody's machine")


def opening_comments(tree):
    for name in tree.sources():
        lines = tree.lines(name)
        if not lines or not lines[0].startswith("/*"):
            yield f"{name}:1: a file opens with a paragraph that says what it is"


def tests_registered(tree):
    for name in tree.ending(".c"):
        path = pathlib.PurePath(name)
        if not name.startswith("tests/") or not path.name.startswith(("test_", "fuzz_")):
            continue
        short = path.stem.split("_", 1)[1]
        build = str(path.parent / "meson.build")
        text = "\n".join(tree.lines(build)) if build in tree.names else ""
        if not re.search(rf"\b{re.escape(path.stem)}\b|'{re.escape(short)}'", text):
            yield f"{name}: is in no test run; add it to {build}"


def python_compiles(tree):
    for name in tree.ending(".py"):
        try:
            compile("\n".join(tree.lines(name)) + "\n", name, "exec", dont_inherit=True)
        except SyntaxError as error:
            yield f"{name}:{error.lineno}: {error.msg}"


class Skip(Exception):
    pass


def formatter_clean(tree):
    if not shutil.which("clang-format"):
        raise Skip("clang-format is not installed")
    files = tree.ending(".c", ".h")
    if not files:
        return
    done = subprocess.run(["clang-format", "--dry-run", "-Werror", *files], cwd=tree.root, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    seen = set()
    for line in done.stdout.splitlines():
        found = re.match(r"(\S+?):(\d+):\d+: (error|warning)", line)
        if found and found[1] not in seen:
            seen.add(found[1])
            yield f"{found[1]}:{found[2]}: is not formatted; run make format"
    if done.returncode != 0 and not seen:
        yield f"clang-format ended with {done.returncode}: {done.stdout.strip()[:300]}"


RULES = [
    folder_arrows,
    module_order,
    internal_headers,
    tests_stay_out,
    includes_found,
    library_containment,
    include_circles,
    file_length,
    function_length,
    file_names,
    no_leftovers,
    no_machine_paths,
    opening_comments,
    tests_registered,
    python_compiles,
    formatter_clean,
]


def run(tree):
    failed = False
    for rule in RULES:
        name = rule.__name__.replace("_", " ")
        try:
            findings = list(rule(tree))
        except Skip as reason:
            print(f"skip {name}: {reason}")
            continue
        print(f"not ok {name}" if findings else f"ok {name}")
        for finding in findings:
            print(f"  {finding}")
        failed = failed or bool(findings)
    return 1 if failed else 0


if __name__ == "__main__":
    root = sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parents[2]
    sys.exit(run(Tree(root)))
