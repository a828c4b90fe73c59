"""Certificates by server name."""

import re

from cryptography.hazmat.primitives import hashes

from support.quicclient import Client

TWO = """
backends: {app: {addresses: 'unix:DIR/app.sock'}}
routes: [{backend: app}]
certificates:
  - {cert: auto, names: [first.example, '*.first.example']}
  - {cert: auto, names: second.example}
"""


def shown(port, server_name):
    """The SHA-256 of the certificate that a client with this server name gets."""
    with Client(port, server_name=server_name) as client:
        certificate = client.quic.tls._peer_certificate  # pylint: disable=protected-access
        return certificate.fingerprint(hashes.SHA256()).hex()


def test_each_server_name_has_its_certificate(world):
    proxy = world.configured(TWO)
    first = proxy.hash
    second = proxy.wait_log("certificate", hash=re.compile(f"^(?!{first})"))["hash"]
    for name, expected in (("first.example", first), ("www.first.example", first),
                           ("SECOND.example", second), ("www.second.example", first),
                           ("other.example", first), (None, first)):
        assert shown(proxy.port, name) == expected, name
