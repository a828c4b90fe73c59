"""What goes wrong while Sluice is at work. With the fixtures of the wire tests; ROUNDS says how
often (few in make test, many in make chaos)."""

import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "wire"))

# pylint: disable=wrong-import-position,unused-wildcard-import,wildcard-import
from importlib.util import module_from_spec, spec_from_file_location

_spec = spec_from_file_location("wire_conftest", os.path.join(sys.path[0], "conftest.py"))
_wire = module_from_spec(_spec)
_spec.loader.exec_module(_wire)

directory = _wire.directory
world = _wire.world
pytest_runtest_makereport = _wire.pytest_runtest_makereport


@pytest.fixture
def figure(record_property):
    """figure(what, workers, promised, measured): a line of the table that the runner prints."""
    def tell(what, workers, promised, measured):
        record_property("figure", "\t".join((what, str(workers), promised, measured)))
        print(f"{what}, {workers} workers: {measured}")
    return tell
