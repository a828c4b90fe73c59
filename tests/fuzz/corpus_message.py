#!/usr/bin/env python3
"""Writes the bodies of the golden vectors' frames into a folder: the corpus that fuzz_message begins
with.

    corpus_message.py FOLDER
"""

import json
import pathlib
import sys

vectors = pathlib.Path(__file__).resolve().parents[2] / "protocol" / "vectors"
folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
for name in ("messages", "malformed", "echo"):
    for i, vector in enumerate(json.loads((vectors / f"{name}.json").read_text())["vectors"]):
        body = bytes.fromhex(vector["frame"])[4:]
        (folder / f"{name}-{i}").write_bytes(body)
