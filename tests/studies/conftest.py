"""A benchmark for the tests of the claims."""

from pathlib import Path

import pytest

from tests.studies.claiming import mixed


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    return mixed(tmp_path_factory.mktemp("benchmark"))
