"""The summary of a preparation: what it made and left out, in words."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from datasets.prepare.bands import BandReport
from datasets.prepare.grid import TileGrid
from datasets.prepare.osm.tags import listed


@dataclass
class PrepareSummary:
    """What one run made and left out; counts of objects are those of the `Census`."""

    out: Path  # folder of the dataset
    city: str  # prefix of the tiles' names
    metres: tuple[float, float]  # ground size of a pixel, x and y
    grid: TileGrid
    report: BandReport = field(default_factory=BandReport)  # counts over all bands
    objects: Mapping[str, int] = field(default_factory=dict)  # that overlap the raster, by layer
    values: int = 0  # number of distinct tag values over all layers
    repaired: int = 0
    outside: int = 0
    dropped: Counter = field(default_factory=Counter)
    splits: str = ""  # the report of the lists of tiles, if there are targets

    @property
    def tiles(self) -> int:
        return self.report.tiles

    @property
    def nodes(self) -> int:
        return self.report.nodes

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
            f"  nodes        {self.nodes}, {self.nodes / max(self.tiles, 1):.1f} a tile",
            f"  edges        {self.report.edges}",
            f"  OSM objects  {sum(self.objects.values())} ({listed(self.objects)}); distinct tag "
            f"values: {self.values}",
        ]
        if any(self.skipped.values()):
            lines.append(f"  not made     {listed(self.skipped)}")
        if self.repaired:
            lines.append(f"  repaired     {self.repaired} objects with invalid geometry")
        if self.outside:
            lines.append(f"  elsewhere    {self.outside} features outside the raster")
        if any(self.left_out.values()):
            lines.append(f"  left out     {listed(self.left_out)}")
        for kind, total in sorted(self.report.totals.items()):
            counts = {"without a value": self.report.without[kind],
                      "covered in part": self.report.partly[kind]}
            few = "; ".join(f"{count} tiles {words}" for words, count in counts.items() if count)
            lines.append(f"  {kind:<12} {total:,.1f} in all" + (f" ({few})" if few else ""))
        if self.report.totals and self.grid.stride < self.grid.tile_px:
            lines.append("               neighbouring tiles overlap, so these sums count places "
                         "several times")
        if self.splits:
            lines.append("\n".join(f"  {line}" for line in self.splits.splitlines()))
        return "\n".join(lines)
