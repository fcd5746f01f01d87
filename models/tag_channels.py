"""The tags of OSM objects as channels of a model: the most frequent ones each have one, and the
others share one of their layer."""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch

from utils.errors import ModelError

MOST_CHANNELS = 32  # tags with a channel of their own
# channels of the remaining tags: of no layer, of one, of cities that do not name theirs
OTHER, LAYER_OTHER, UNNAMED_OTHER = "*", "{}/*", "tag *"
ANY_TILE = "@"      # key of `know_tags` for tiles of any other name
_LABEL = -1         # of a node row, as in datasets/stores/tile.py
_UNNAMED = re.compile(r"tag ([0-9]{1,6})")


def choose_channels(tiles_with: Mapping[str, int], most: int = MOST_CHANNELS) -> tuple[str, ...]:
    """Return the channels for tags: the `most` that most tiles have, and one for each layer's
    remaining ones.

    Args:
        tiles_with: tag, "layer/value", "value" or "tag CODE" -> number of training tiles that
            have it.
    """
    ordered = sorted(tiles_with, key=lambda tag: (-tiles_with[tag], tag))
    others = sorted({_other(tag) for tag in ordered[most:]} - {*ordered[:most]})
    return (*ordered[:most], *others) or (OTHER,)


def channel_table(channels: Sequence[str], tags: Sequence[str]) -> list[int]:
    """Return the channel of each tag: its own, else its layer's, else the last resort's; -1
    for a kind of object that no training tile had."""
    number = {channel: index for index, channel in enumerate(channels)}
    return [number.get(tag, number.get(_other(tag), number.get(OTHER, -1))) for tag in tags]


def _other(tag: str) -> str:
    layer, separator, _ = tag.rpartition("/")
    if separator:
        return LAYER_OTHER.format(layer)
    return UNNAMED_OTHER if _UNNAMED.fullmatch(tag) else OTHER


class TagChannels(nn.Module):
    """Tells the channel of each object of a graph, by its tag.

    Args:
        channels: of `choose_channels`.
    """

    def __init__(self, channels: Sequence[str]):
        super().__init__()
        self.channels = tuple(channels)
        self.register_buffer("table", torch.zeros(1, 1, dtype=torch.int64), persistent=False)
        self.know_tags({})

    def know_tags(self, tags: Mapping[str, Sequence[str]]) -> None:
        """Learn what the label codes of graphs mean.

        Args:
            tags: city -> tag by label code, as of `TileDataset.tags`. The key ANY_TILE has those of
                tiles of any other city. Without it, codes of other cities are called "tag CODE" if
                a training city did not name its own, or if objects are not told apart.
        """
        tables = {city: channel_table(self.channels, names) for city, names in tags.items()}
        numbers = [int(match[1]) for name in self.channels if (match := _UNNAMED.fullmatch(name))]
        if numbers or UNNAMED_OTHER in self.channels or self.channels == (OTHER,):
            unnamed = [f"tag {code}" for code in range(max(numbers, default=-1) + 1)]
            tables.setdefault(ANY_TILE, channel_table(self.channels, unnamed))
        self._cities = {city: row for row, city in enumerate(tables)}
        # the last two columns are those of codes without a name, and of objects without a code
        ends = channel_table(self.channels, [UNNAMED_OTHER, OTHER])
        most = max(map(len, tables.values()), default=0)
        rows = [[*table, *ends[:1] * (most - len(table)), *ends] for table in tables.values()]
        # a module that was built without memory has some where its weights are
        device = next(iter(self.state_dict().values()), self.table).device
        self.table = torch.tensor(rows or [ends], device=device)

    def channel_of(self, graphs: Batch) -> Tensor:
        """Return each node's channel [N], -1 if it has none. Raise ModelError for graphs of a city
        whose label codes are not known."""
        names = getattr(graphs, "name", [""] * graphs.num_graphs)
        other = self._cities.get(ANY_TILE)
        rows = [self._cities.get(name.rsplit("_", 2)[0], other) for name in names]
        if None in rows:
            self._refuse(names, rows, graphs.ptr.diff().tolist())
        row = torch.tensor([row or 0 for row in rows], device=graphs.x.device)[graphs.batch]
        last = self.table.shape[1] - 1
        code = graphs.x[:, _LABEL].long()
        return self.table[row, code.clamp(max=last - 1).where(code >= 0, last)]

    def _refuse(self, names: Sequence[str], rows: Sequence[int | None],
                counts: Sequence[int]) -> None:
        """Raise ModelError if a tile with objects is of a city without a row of the table."""
        unknown = [name for name, row, count in zip(names, rows, counts, strict=True)
                   if row is None and count]
        if unknown:
            raise ModelError(f"tile {unknown[0]!r}: nothing says what its label codes mean, and "
                             "the model tells objects apart by their tags, such as "
                             f"{self.channels[0]}; choose tiles whose city has label_names (in "
                             "Python, call know_tags(dataset.tags)), another modality, or "
                             "draw_objects=false count_objects=false patch_mlp=false")
