"""Providers of web map tiles by name: addresses, zooms and notes."""

import re

import pytest
import xyzservices

from datasets.bbox import BBox
from datasets.fetch.providers import is_name, provider_of
from utils.errors import ConfigError

PARDUBICE = BBox(15.74, 50.03, 15.79, 50.05)


@pytest.mark.parametrize(("name", "zoom", "box"), [
    ("Esri.WorldImagery", 18, PARDUBICE), ("esri worldimagery", 18, BBox(103, 0, 103.1, 0.1)),
    ("Esri.WorldImagery", 17, BBox(25, 67, 25.1, 67.1)), ("OpenAIP", 14, PARDUBICE)])
def test_pixels_are_near_half_a_metre_as_far_as_the_provider_has_them(name, zoom, box):
    provider = provider_of(name, None, box)
    assert provider.zoom(None, box) == zoom
    assert zoom == provider.zooms[1] or 0.35 < provider.pixel_m(zoom, box) < 0.71


def test_addresses():
    assert provider_of("Esri.WorldImagery", None, PARDUBICE).address.endswith(
        "World_Imagery/MapServer/tile/{z}/{y}/{x}")
    assert "/{z}/{x}/{-y}.png" in provider_of("OpenAIP", None, PARDUBICE).address  # TMS
    large = provider_of("MapBox", "a key&", PARDUBICE)
    assert large.address.endswith("access_token=a%20key%26")
    assert (large.tile_px, large.zoom(None, PARDUBICE)) == (512, 17)


def test_a_drawn_map_gets_a_note():
    assert "is a drawn map" in provider_of("OpenStreetMap.Mapnik", None, PARDUBICE).notes[0]
    assert not provider_of("Esri.WorldImagery", None, PARDUBICE).notes
    assert any("GCJ-02" in note for note in provider_of("Gaode.Satellite", None, PARDUBICE).notes)


def outcome(name):
    """Return the address of a provider's tiles in Paris, or why there is none."""
    try:
        return provider_of(name, None, BBox(2.3, 48.8, 2.31, 48.81)).address
    except ConfigError as error:
        return str(error)


def test_every_provider_is_taken_or_refused_with_a_reason():
    for name in sorted(xyzservices.providers.flatten())[::4]:
        said = outcome(name)
        assert ("{z}" in said and "{x}" in said) or re.search(
            "wants a key|its tiles are in EPSG|nothing of bbox", said), said


@pytest.mark.parametrize(("text", "name"), [
    ("Esri.WorldImagery", True), ("esri worldimagery", True), ("https://a/{z}/{x}/{y}.png", False),
    ("item.json", False), ("./city", False), ("city.tif", False), ("wms.xml", False)])
def test_what_can_be_a_name(text, name):
    assert is_name(text) is name
