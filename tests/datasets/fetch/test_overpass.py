"""Pieces of an Overpass query: divided where the server has too much of them, merged, resumed."""

import re
from urllib.parse import parse_qs

import pytest

from datasets.bbox import BBox
from datasets.fetch.overpass import MOST_KM2, fetch_overpass, pieces_of, query_of
from datasets.prepare.osm.tags import load_layers
from datasets.remote.http import Http
from tests.datasets.fetch.places import PATIENCE, objects, whole
from tests.servers import EVER, Fault
from utils.errors import PrepareError

TIMED_OUT = (b'<osm><remark> runtime error: Query timed out in "query" at line 3 after 181 '
             b"seconds. </remark></osm>", "text/xml")


@pytest.fixture
def ask(city, server, tmp_path):
    def ask(box=city.box, table=None):
        with Http(connections=1, patience=PATIENCE) as http:
            return fetch_overpass(http, f"{server.url}/api/interpreter", box,
                                  table or load_layers(), tmp_path / "osm.osm", tmp_path / "work")
    return ask


def queries(server):
    return [parse_qs(request.body.decode())["data"][0] for request in server.requests]


def test_pieces_cover_a_box_and_are_small():
    for box in (BBox(15.5, 50, 15.9, 50.3), BBox(10, 79.9, 14, 80.1), BBox(0, 0, 0.01, 0.01)):
        pieces = pieces_of(box)
        assert all(piece.area_km2 <= MOST_KM2 for piece in pieces)
        assert sum(piece.area_km2 for piece in pieces) == pytest.approx(box.area_km2, rel=1e-3)
        assert (pieces[0].west, pieces[0].south) == (box.west, box.south)
        assert (pieces[-1].east, pieces[-1].north) == (box.east, box.north)
    assert len(pieces) == 1


def test_a_piece_that_is_too_much_is_divided(city, server, ask, tmp_path, monkeypatch):
    """Objects on the sides of the four parts come once, and a later call asks for nothing."""
    monkeypatch.setattr("datasets.fetch.overpass.LEAST_KM2", 0.01)
    server.fault("interpreter", Fault(200, 1, *TIMED_OUT))
    answers = ask()
    boxes = {re.search(r'way\["building"\]\(([^)]*)\)', query)[1] for query in queries(server)}
    assert len(boxes) == len(server.requests) == 5
    assert objects(tmp_path / "osm.osm", city) == objects(whole(city, tmp_path), city)
    names = re.findall(r'<(node|way|relation) id="(\d+)"', (tmp_path / "osm.osm").read_text())
    assert len(names) == len(set(names)) == answers.elements
    assert answers.as_of == "2026-11-26T20:00:00Z"
    assert ask() == answers
    assert len(server.requests) == 5


def test_a_call_after_a_failure_asks_only_for_the_rest(city, server, ask, monkeypatch):
    monkeypatch.setattr("datasets.fetch.overpass.LEAST_KM2", 0.01)
    server.fault("interpreter", Fault(200, 1, *TIMED_OUT))
    server.fault("interpreter", Fault(400, 1, b"bad", skip=2))
    with pytest.raises(PrepareError, match="the server answers 400 Bad Request"):
        ask()
    asked = len(server.requests)
    ask()
    assert (asked, len(server.requests)) == (4, 6)


def test_a_server_that_never_has_time_is_asked_few_times(server, ask):
    server.fault("interpreter", Fault(200, EVER, *TIMED_OUT))
    with pytest.raises(PrepareError, match="stopped with 'runtime error: Query timed out"):
        ask(BBox(13.4, 52.4, 13.5, 52.5))
    assert len(server.requests) == 4  # 38 km2, then a quarter each time, to less than 1 km2


def test_requests_come_one_at_a_time(server, ask):
    server.fault("interpreter", Fault(wait_s=0.02, times=EVER))
    ask(BBox(13.3, 52.4, 13.6, 52.5))
    assert (len(server.requests), server.most_at_once) == (len(pieces_of(
        BBox(13.3, 52.4, 13.6, 52.5))), 1)


def test_keys_of_an_own_table_are_quoted(tmp_path):
    table = tmp_path / "layers.yaml"
    table.write_text('keys:\n  \'a"]; out;\\\': {layer: amenity, points: 10, lines: drop}\n')
    query = query_of(BBox(0, 0, 1, 1), load_layers(table))
    assert r'node["a\"]; out;\\"](0.0000000' in query
