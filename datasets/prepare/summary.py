"""The summary of a preparation: what it made and left out, in words."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from datasets.prepare.account import Account
from datasets.prepare.bands import EMPTY, BandReport
from datasets.prepare.grid import TileGrid
from datasets.prepare.osm.tags import listed
from datasets.stores.city import MODALITIES

NO_IMAGERY = "none (raster=null): the tiles are for modality=osm"
NO_OBJECTS = "none (osm=null): the tiles are for modality=image"

@dataclass
class PrepareSummary:
    """What one run made and left out."""

    out: Path  # folder of the dataset
    city: str  # prefix of the tiles' names
    metres: tuple[float, float]  # ground size of a pixel, x and y
    grid: TileGrid
    report: BandReport = field(default_factory=BandReport)  # counts over all bands
    account: Account = field(default_factory=Account)  # of the features of the OSM sources
    values: int = 0  # number of distinct tag values over all layers
    splits: str = ""  # the report of the lists of tiles, if there are targets
    modalities: tuple[str, ...] = MODALITIES  # what the tiles have
    # total -> what it is the sum of, where that is no people or CO2
    counted: Mapping[str, str] = field(default_factory=dict)

    @property
    def tiles(self) -> int:
        return self.report.tiles

    @property
    def nodes(self) -> int:
        return self.report.nodes

    @property
    def objects(self) -> dict[str, int]:
        """Objects in at least one tile, by layer."""
        return self.account.objects

    @property
    def repaired(self) -> int:
        """Objects whose geometry was invalid."""
        return self.account.census.repaired

    @property
    def outside(self) -> int:
        """Features outside the raster."""
        return self.account.census.outside

    @property
    def dropped(self) -> Counter:
        """Features and tags left out, by reason."""
        return self.account.census.dropped

    @property
    def skipped(self) -> Counter:
        """Tiles not made, by reason."""
        return self.report.skipped + Counter(
            {"partial tiles at the right or bottom edge": self.grid.partial})

    @property
    def left_out(self) -> Counter:
        """Objects and clips of objects left out, by reason."""
        return self.dropped + self.report.dropped

    def __str__(self) -> str:
        width, height = (self.grid.tile_px * side for side in self.metres)
        lines = [
            f"{self.city}: made in {self.out}",
            f"  tiles        {self.tiles}, {width:.0f} x {height:.0f} m each "
            f"({self.metres[0]:.3g} m a pixel)",
        ]
        if "image" not in self.modalities:
            lines.append(f"  imagery      {NO_IMAGERY}")
        lines += [f"  OSM objects  {NO_OBJECTS}"] if "osm" not in self.modalities else [
            f"  nodes        {self.nodes}, {self.nodes / max(self.tiles, 1):.1f} a tile",
            f"  edges        {self.report.edges}",
            f"  OSM objects  {sum(self.objects.values())} ({listed(self.objects)}); distinct tag "
            f"values: {self.values}",
        ]
        if any(self.skipped.values()):
            empty = "; keep_empty=true makes those without objects, too" * bool(self.skipped[EMPTY])
            lines.append(f"  not made     {listed(self.skipped)}{empty}")
        lines += self.account.lines()
        if self.repaired:
            lines.append(f"  repaired     {self.repaired} objects with invalid geometry")
        if self.outside:
            place = "raster" if "image" in self.modalities else "area"
            lines.append(f"  elsewhere    {self.outside} features outside the {place}")
        if any(self.left_out.values()):
            lines.append(f"  left out     {listed(self.left_out)}")
        lines += [f"  remedy       {remedy}" for remedy in self.account.census.advice]
        for kind, total in sorted(self.report.totals.items()):
            counts = {"without a value": self.report.without[kind],
                      "covered in part": self.report.partly[kind]}
            few = "; ".join(f"{count} tiles {words}" for words, count in counts.items() if count)
            name, what = (("total", f" {self.counted[kind]}") if kind in self.counted
                          else (kind, ""))
            lines.append(f"  {name:<12} {total:,.1f}{what} in all" + (f" ({few})" if few else ""))
        if self.report.totals and self.grid.stride < self.grid.tile_px:
            lines.append("               neighbouring tiles overlap, so these sums count places "
                         "several times")
        if self.splits:
            lines.append("\n".join(f"  {line}" for line in self.splits.splitlines()))
        return "\n".join(lines)
