"""Turns files into a C source with the table of page.h: embed.py OUTPUT FILE...

A file keeps its name as its path; index.html becomes "/".
"""

import pathlib
import sys

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".json": "application/json",
    ".txt": "text/plain; charset=utf-8",
}


def main():
    output, *names = sys.argv[1:]
    lines = ["/* Made by embed.py; do not edit. */", '#include "page/page.h"']
    rows = []
    for index, name in enumerate(names):
        path = pathlib.Path(name)
        if path.suffix not in TYPES:
            sys.exit(f"embed.py: {name}: no content type is known for '{path.suffix}'")
        data = path.read_bytes()
        lines.append(f"static const unsigned char file{index}[] = {{")
        # One more byte, so that an empty file is legal C, too.
        padded = data + b"\0"
        lines += [",".join(map(str, padded[at:at + 32])) + "," for at in range(0, len(padded), 32)]
        lines.append("};")
        url = "/" if path.name == "index.html" else "/" + path.name
        rows.append(f'    {{"{url}", "{TYPES[path.suffix]}", file{index}, {len(data)}}},')
    lines += ["const struct page_file page_files[] = {", *rows, "    {0, 0, 0, 0},", "};"]
    pathlib.Path(output).write_text("\n".join(lines) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
