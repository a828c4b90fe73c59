"""Writes the inputs that fuzz_config begins with: corpus_config.py FOLDER"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

SMALL = """\
certificates: [{cert: auto}]
backends: {app: {addresses: unix:/a}}
routes: [{backend: app}]
"""

folder = pathlib.Path(sys.argv[1])
(folder / "example").write_bytes((ROOT / "docs" / "sluice.yaml").read_bytes())
(folder / "small").write_text(SMALL)
(folder / "more").write_text(SMALL + "origins: &o ['*']\nworkers: auto\nmemory: 64MiB\n"
                             "idle_timeout: 1m\nlisteners: [{address: ':1'}]\n")
