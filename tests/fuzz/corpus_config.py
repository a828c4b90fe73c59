"""Writes the inputs that fuzz_config begins with: corpus_config.py FOLDER"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

SMALL = """\
certificates: [{cert: auto}]
backends: {app: {addresses: unix:/a}}
routes: [{backend: app}]
"""

BRIDGE = """\
certificates: [{cert: auto}]
probe: accept
backends:
  app: {addresses: unix:/a}
  both: {kind: bridge, addresses: tcp:a:1, datagrams: udp:b:2, tls: true, tls_name: c}
routes:
  - {path: '/{name}', targets: {d: app, e: both}, proxy_protocol: v2, accept_timeout: 1s}
  - {backend: both, path_prefix: /}
"""

folder = pathlib.Path(sys.argv[1])
(folder / "example").write_bytes((ROOT / "docs" / "sluice.yaml").read_bytes())
(folder / "small").write_text(SMALL)
(folder / "bridge").write_text(BRIDGE)
(folder / "more").write_text(SMALL + "origins: &o ['*']\nworkers: auto\nmemory: 64MiB\n"
                             "idle_timeout: 1m\nlisteners: [{address: ':1'}]\n")
