"""A server of the Overpass API with a few objects, which answers our queries as the real one does:
elements that meet the box with all their places, ordered by kind and id."""

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qs
from xml.sax.saxutils import quoteattr

import shapely

from tests.servers import Request

HEAD = ('<?xml version="1.0" encoding="UTF-8"?>\n<osm version="0.6" generator="Overpass API">\n'
        '<note>from www.openstreetmap.org</note><meta osm_base="2026-11-26T20:00:00Z"/>\n')
Places = list[tuple[float, float]]


@dataclass
class Planet:
    """Objects by id.

    Attributes:
        nodes: place and tags.
        ways: places, whose ids are given by their order of appearance, and tags.
        relations: (way, role) of each member, and tags.
    """

    nodes: dict[int, tuple[tuple[float, float], dict]] = field(default_factory=dict)
    ways: dict[int, tuple[Places, dict]] = field(default_factory=dict)
    relations: dict[int, tuple[list[tuple[int, str]], dict]] = field(default_factory=dict)

    def refs(self) -> dict[tuple[float, float], int]:
        """Return the id of each place of a way: that of a node there, or one of its own."""
        refs = {place: name for name, (place, _) in self.nodes.items()}
        for places, _ in self.ways.values():
            for place in places:
                refs.setdefault(place, 1000 + len(refs))
        return refs

    def osm(self) -> str:
        """Return all as an .osm file, with nodes."""
        refs = self.refs()
        tags = {refs[place]: tags for place, tags in self.nodes.values()}
        nodes = [f'<node id="{ref}" lon="{lon}" lat="{lat}">{_tags(tags.get(ref, {}))}</node>'
                 for (lon, lat), ref in sorted(refs.items(), key=lambda pair: pair[1])]
        ways = [f'<way id="{name}">' + "".join(f'<nd ref="{refs[place]}"/>' for place in places)
                + f"{_tags(tags)}</way>" for name, (places, tags) in sorted(self.ways.items())]
        relations = [f'<relation id="{name}">' + "".join(
            f'<member type="way" ref="{way}" role="{role}"/>' for way, role in members)
            + f"{_tags(tags)}</relation>"
            for name, (members, tags) in sorted(self.relations.items())]
        return '<osm version="0.6">' + "\n".join([*nodes, *ways, *relations]) + "</osm>"

    def __call__(self, request: Request) -> tuple[bytes, str]:
        """Return the answer to a query by POST."""
        query = parse_qs(request.body.decode())["data"][0]
        return self.answer(query).encode(), "application/osm3s+xml"

    def answer(self, query: str) -> str:
        south, west, north, east = map(float, re.search(r"\(([-\d.,]+)\);\n", query)[1].split(","))
        lat, lon = map(float, re.search(r"is_in\(([-\d.]+),([-\d.]+)\)", query).groups())
        box, middle = shapely.box(west, south, east, north), shapely.Point(lon, lat)
        refs = self.refs()
        asked = {kind: set(re.findall(rf'{kind}\["(\w+)"\]', query))
                 for kind in ("node", "way", "relation")}

        around = {kind: set(re.findall(rf'{kind}\(pivot\.around\)\["(\w+)"\]', query))
                  for kind in ("way", "relation")}

        def meets(shape: shapely.Geometry, kind: str = "node", tags: dict | None = None) -> bool:
            area = shape.geom_type.endswith("Polygon")
            line = shapely.boundary(shape) if area else shape
            return line.intersects(box) or bool(area and shape.contains(middle)
                                                and around[kind] & tags.keys())

        nodes = [f'<node id="{name}" lat="{place[1]}" lon="{place[0]}">{_tags(tags)}</node>'
                 for name, (place, tags) in sorted(self.nodes.items())
                 if asked["node"] & tags.keys() and meets(shapely.Point(place))]
        ways = [f'<way id="{name}">{_nds(places, refs)}{_tags(tags)}</way>'
                for name, (places, tags) in sorted(self.ways.items())
                if asked["way"] & tags.keys() and meets(_shape(places), "way", tags)]
        relations = [
            f'<relation id="{name}">' + "".join(
                f'<member type="way" ref="{way}" role="{role}">{_nds(self.ways[way][0])}</member>'
                for way, role in members) + f"{_tags(tags)}</relation>"
            for name, (members, tags) in sorted(self.relations.items())
            if asked["relation"] & tags.keys()
            and meets(shapely.union_all([_shape(self.ways[way][0]) for way, _ in members]),
                      "relation", tags)]
        return HEAD + "\n".join([*nodes, *ways, *relations]) + "\n</osm>\n"


def _shape(places: Places) -> shapely.Geometry:
    return shapely.Polygon(places) if places[0] == places[-1] else shapely.LineString(places)


def _nds(places: Places, refs: dict | None = None) -> str:
    return "".join(f'<nd {f"ref={quoteattr(str(refs[place]))} " if refs else ""}lat="{place[1]}" '
                   f'lon="{place[0]}"/>' for place in places)


def _tags(tags: dict[str, str]) -> str:
    return "".join(f"<tag k={quoteattr(key)} v={quoteattr(value)}/>"
                   for key, value in tags.items())
