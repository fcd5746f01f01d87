"""The sample city and a server, for the tests of fetching."""

from collections.abc import Iterator

import pytest

from tests.datasets.fetch.places import City, make_city
from tests.servers import Server


@pytest.fixture(scope="session")
def city(tmp_path_factory: pytest.TempPathFactory) -> City:
    return make_city(tmp_path_factory.mktemp("city"))


@pytest.fixture
def server(city: City) -> Iterator[Server]:
    with Server() as server:
        city.serve(server)
        yield server
