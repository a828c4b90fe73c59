"""Certificates by server name."""

import re

from cryptography.hazmat.primitives import hashes

from support.certificates import write_certificate
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


def test_a_file_is_for_the_names_that_stand_in_it_or_for_those_that_are_said(world, directory):
    _, _, in_file = write_certificate(directory, 10, ["own.example"])
    files = "cert: DIR/cert.pem, key: DIR/key.pem"
    for said, expected, other in (("", "own.example", "said.example"),
                                  (", names: said.example", "said.example", "own.example")):
        proxy = world.configured(f"""
backends: {{app: {{addresses: 'unix:DIR/app.sock'}}}}
routes: [{{backend: app}}]
certificates: [{{cert: auto}}, {{{files}{said}}}]
""")
        assert shown(proxy.port, expected) == in_file
        assert shown(proxy.port, other) == proxy.hash
