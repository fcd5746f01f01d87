"""A tile dataset: an aerial image and an OSM graph per tile, in either of two layouts.

The compact layout (stores/compact_city.py) is a few arrays of which a tile is a few short reads;
prepare_dataset.py makes it by default. The release's layout (stores/release.py) is that of the
Rose authors' published data.
`python -m datasets.convert SRC DST` makes one from the other, and both give the same tensors to the
bit. Whatever is wrong with a dataset raises a TileError of one line: missing files when the dataset
is opened, the content of a tile when it is read.
"""

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.utils.data import Dataset
from torch_geometric.data import Batch, Data

from datasets.batching import join_graphs, stack
from datasets.classes import joint_classes
from datasets.stores.city import MODALITIES, NO_CITY, cities_of, city_of, modalities_of
from datasets.stores.open import open_store
from datasets.stores.tile import GEOMETRY_WIDTH, LABEL, TOTALS
from utils.normalisation import denormalise as denormalise  # of the package
from utils.normalisation import normalise

if TYPE_CHECKING:
    from matplotlib.figure import Figure


NODE_WIDTH = 525  # columns of a node row with text vectors of 512


class TileDataset(Dataset):
    """The tiles of a folder, sorted by name: `dataset[i] -> (image, graph)`.

    The image is float32 [3, image_size, image_size], normalised by ImageNet's mean and std. The
    graph is a PyG Data with `x` float32 [n, node_width], `edge_index` int64 [2, e], `edge_attr`
    float32 [e, 1] and `name`; a tile without OSM objects has n = 0 and e = 0.

    Args:
        root: the dataset's folder, in either layout.
        cities: keep only the tiles of these cities; None or empty keeps all.
        image_size: side of every image, in pixels.
        node_width: columns of every node table, label included; None: as the dataset says of its
            text vectors, else 525.

    Attributes:
        cities: the requested cities; empty if all are kept.
        names: the tiles' names, in the order of the index.
        label_names: city -> tag values by label code, for cities that have them (the authors' data
            does not).
        modalities: what all tiles have, "image" and "osm" or one of them. Without "image" the
            images are black; without "osm" the graphs are empty.
        land_use_classes: names and colours of the classes of land use, of all cities: the paper's
            nine if they do not say; `classes` are the names.
        meta: city -> what its maker says of it (CRS, transform, tile_px, stride, sources ...), for
            cities that have such a file.

    Raises:
        TileError: the folder, one of its parts, a file of a tile or a city is missing, a meta file
            cannot be read, or cities have different classes. Reading a tile raises it too, if the
            tile is damaged or not as described above.
    """

    def __init__(self, root: str | Path, cities: Sequence[str] | None = None,
                 image_size: int = 224, node_width: int | None = None) -> None:
        self.root = Path(root)
        self.cities = list(cities or ())
        self.image_size = image_size
        self.store = open_store(self.root, cities)
        self.names: list[str] = self.store.names
        self.label_names: dict[str, list[str]] = self.store.label_names
        self.meta: dict[str, dict] = self.store.meta
        self.node_width = node_width or _stated_width(self.meta.values()) or NODE_WIDTH
        self.modalities: tuple[str, ...] = tuple(
            name for name in MODALITIES if all(name in modalities_of(meta)
                                               for meta in self.meta.values()))
        self.land_use_classes = joint_classes(self.root, self.meta, cities_of(self.names))

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes of land use, in the order of the labels' values."""
        return self.land_use_classes.names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Tensor, Data]:
        image, graph = self.read(index)
        return normalise(image), graph

    def read(self, index: int) -> tuple[Tensor, Data]:
        """Read tile `index` with its image as stored, uint8 [3, image_size, image_size]: what
        loaders ship, and augmentation starts from."""
        return self.store.image(index, self.image_size), self.graph(index)

    def graph(self, index: int) -> Data:
        """Read the graph of tile `index` alone."""
        return self.store.graph(index, self.node_width)

    def land_use(self, index: int) -> Tensor | None:
        """Return indices of `classes`, others unknown: uint8 [H, W]; None if the tile has no
        label."""
        return self.store.land_use(index)

    def total(self, index: int, name: str) -> float | None:
        """Return the tile's sum of `name`, "pop" or "CO2"; None if it has none."""
        return self.store.total(index, name)

    def counted(self, name: str) -> str | None:
        """Return what `name`, "pop" or "CO2", is the sum of, where the cities say that it is no
        people or CO2, and agree; else None."""
        key = {"pop": "population_what", "CO2": "co2_what"}[name]
        values = [(meta.get("keys") or {}).get(key) for meta in self.meta.values()]
        same = values and isinstance(values[0], str) and len({*map(str, values)}) == 1
        return values[0] if same else None

    def newness(self, index: int) -> Tensor | None:
        """Return how new each node's object is, as its id of OSM says: the share of the city's
        objects of its kind (nodes, ways, relations) that were not mapped later, nan where unknown:
        float32 [n]; None if the tile does not know."""
        return self.store.newness(index)

    def has_target(self, index: int) -> bool:
        """Return whether tile `index` has land use or a total."""
        return (self.land_use(index) is not None
                or any(self.total(index, name) is not None for name in TOTALS))

    def tag(self, index: int, code: int) -> str:
        """Return the tag value of a label code in tile `index`, such as `school`, or its number if
        the tile's city does not name it."""
        names = self.label_names.get(city_of(self.names[index]) or NO_CITY) or []
        return names[code] if 0 <= code < len(names) else f"tag {code}"

    @property
    def tags(self) -> dict[str, list[str]]:
        """City -> "layer/value" by label code, such as "road/service"; the value alone where the
        city does not say its layers, and no city that does not name its codes."""
        tags = {}
        for city, names in self.label_names.items():
            layers = self.meta.get(city, {}).get("label_layers") or []
            tags[city] = [f"{layer}/{name}" if layer else name for name, layer in
                          zip_longest(names, layers[:len(names)])]
        return tags

    def describe(self) -> dict[str, Any]:
        """Return how the tiles were made, as far as known and equal in all cities; checkpoints
        keep it.

        Returns:
            "tile_px"; "metres_per_pixel", the least and the largest; "text", as
            `TextEncoder.describe` has it; "relation_codes" and "coordinates", as in a recipe.
        """
        metas = list(self.meta.values())
        metres = [side for meta in metas for side in meta.get("metres_per_pixel") or ()]
        description = {"tile_px": self.image_size}
        if metres:
            description["metres_per_pixel"] = [min(metres), max(metres)]
        for name in ("text", "relation_codes", "coordinates"):
            values = [meta.get(name) if name == "text" else (meta.get("keys") or {}).get(name)
                      for meta in metas]
            if values and values[0] and all(value == values[0] for value in values):
                description[name] = values[0]
        return description

    def plot(self, index: int) -> "Figure":
        """Draw a matplotlib Figure of tile `index`: image, OSM objects and, where known, land use,
        population and CO2.

        `dataset.plot(3).savefig("tile.png")` writes it, and a notebook shows it by itself.
        """
        from datasets.plot import tile_figure  # loads matplotlib, which loaders do without

        image, graph = self.read(index)
        layers = self.meta.get(city_of(graph.name), {}).get("label_layers") or []
        tags = {code: (self.tag(index, code), layers[code] if 0 <= code < len(layers) else None)
                for code in set(graph.x[:, LABEL].int().tolist())}
        totals = {name: total for name in TOTALS if (total := self.total(index, name)) is not None}
        return tile_figure(image, graph, tags, self.land_use(index), totals,
                           self.land_use_classes, self.modalities,
                           {name: what for name in TOTALS if (what := self.counted(name))})


def _stated_width(metas: Iterable[dict[str, Any]]) -> int | None:
    """Return the columns of a node row, as the cities say of their text; None if they do not, or
    differ."""
    widths = {(meta.get("text") or {}).get("width") for meta in metas}
    width = widths.pop() if len(widths) == 1 else None
    return width + GEOMETRY_WIDTH + 1 if type(width) is int and width > 0 else None


def collate(samples: Sequence[tuple[Tensor, Data]]) -> tuple[Tensor, Batch]:
    """Join tiles to a batch: images [B, 3, H, W] of the tiles' type and one PyG Batch of B graphs,
    empty ones included, whose `name` lists the tiles' names."""
    images, graphs = zip(*samples, strict=True)
    return stack(images), join_graphs(list(graphs))
