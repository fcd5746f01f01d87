"""OSM objects of an area: from a server of the Overpass API, or cut from an extract."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from datasets.bbox import BBox
from datasets.fetch.extract import cut_extract
from datasets.fetch.overpass import fetch_overpass, pieces_of
from datasets.fetch.record import Made
from datasets.prepare.osm.osm_files import SUFFIXES
from datasets.prepare.osm.tags import LayerTable, load_layers
from datasets.remote.http import Http, Patience
from datasets.remote.urls import is_url, short_url, without_secrets
from utils.errors import ConfigError
from utils.files import digest_of, states
from utils.progress import passing_bar, say_if_slow
from utils.tables import format_bytes

OVERPASS = "overpass"
ATTRIBUTION = "(C) OpenStreetMap contributors, Open Database License (ODbL) 1.0"
TERMS = ("https://www.openstreetmap.org/copyright",)
MB_PER_KM2 = 1  # of an answer for a dense city


@dataclass
class OsmItem:
    """The OSM objects that `osm=` asks for.

    Args:
        osm: overpass, or the URL or path of an extract.
        url: of the server of the Overpass API.
        table: its keys are asked for.
    """

    osm: str
    url: str
    table: LayerTable
    name = "osm"

    @classmethod
    def of(cls, osm: str, url: str, layers: str | None) -> "OsmItem":
        """Return the item; raise ConfigError if `osm` is neither overpass nor an extract."""
        path = urlsplit(osm).path if is_url(osm) else osm
        if osm != OVERPASS and not path.lower().endswith(SUFFIXES):
            raise ConfigError(f"osm={without_secrets(osm)}: expected overpass, or the URL or path "
                              f"of an extract, which ends in {', '.join(SUFFIXES)}")
        if not is_url(url):
            raise ConfigError(f"overpass_url={url}: not an address, expected https://...")
        return cls(osm, url, load_layers(layers))

    @property
    def path(self) -> str:
        return "osm.osm" if self.osm == OVERPASS else "osm.osm.pbf"

    @property
    def request(self) -> dict[str, Any]:
        local = {} if self.osm == OVERPASS or is_url(self.osm) else states([Path(self.osm)])
        return {"osm": without_secrets(self.osm), "keys": sorted(self.table.rule_of_key),
                "state": local}

    def forecast(self, box: BBox) -> list[str]:
        """Return what would be fetched, in lines for the user."""
        if self.osm != OVERPASS:
            how = "downloaded whole and cut" if is_url(self.osm) else "cut"
            return [f"OSM objects: {without_secrets(self.osm)}, {how} to the area"]
        pieces = len(pieces_of(box))
        most = format_bytes(box.area_km2 * MB_PER_KM2 * 1e6)
        return [f"OSM objects: {pieces} question{'s' * (pieces > 1)} to "
                f"{short_url(self.url)}; in a dense city up to {most}"]

    def make(self, folder: Path, box: BBox, patience: Patience) -> Made:
        """Write the objects of a box into `folder`, unless they are there."""
        target = folder / self.path
        if self.osm == OVERPASS:
            return self._ask(target, folder, box, patience)
        source = Path(self.osm)
        if is_url(self.osm):
            source = self._downloaded(folder.parent, patience)
        with say_if_slow(f"cutting {source.name} to {box}"):
            cut = cut_extract(source, target, box, self.table, folder)
        return Made(target, without_secrets(self.osm), attribution=ATTRIBUTION, terms=TERMS,
                    notes=(f"{self.path}: {cut}",))

    def _ask(self, target: Path, folder: Path, box: BBox, patience: Patience) -> Made:
        patience = replace(patience, pause_s=5 * patience.pause_s, read_s=4 * patience.read_s)
        with (Http(connections=1, patience=patience) as http,
              passing_bar(None, "OSM", "piece", len(pieces_of(box))) as bar):
            answers = fetch_overpass(http, self.url, box, self.table, target, folder,
                                     lambda done: bar.update(done - bar.n))
        as_of = f", as of {answers.as_of}" if answers.as_of else ""
        return Made(target, short_url(self.url), attribution=ATTRIBUTION, terms=TERMS,
                    notes=(f"{self.path}: {answers.elements:,} nodes, ways and multipolygons"
                           f"{as_of}",))

    def _downloaded(self, folder: Path, patience: Patience) -> Path:
        """Return the extract in a folder of its address, so that another area of it need not be
        downloaded again before this work is done."""
        name = urlsplit(self.osm).path.lower()
        ending = max((suffix for suffix in SUFFIXES if name.endswith(suffix)), key=len)
        folder = folder / f"extract-{digest_of(without_secrets(self.osm))[:16]}"
        path = folder / f"extract{ending}"
        if not path.is_file():
            with Http(patience=patience) as http, passing_bar(None, "extract", "B") as bar:
                def show(done: int, total: int | None) -> None:
                    bar.total = total
                    bar.update(done - bar.n)

                http.download(self.osm, path, progress=show)
        return path
