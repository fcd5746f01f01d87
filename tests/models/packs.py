"""Parity packs: a batch, parameters that follow from their names, and what the authors' network
computes from them."""

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data


@dataclass(frozen=True)
class Pack:
    """A case NAME.json + NAME.npz of the packs' README."""

    meta: dict[str, Any]
    arrays: dict[str, Tensor]
    parameters: dict[str, Tensor]
    decoders: dict[str, dict[str, Tensor]]

    @property
    def images(self) -> Tensor:
        return self.arrays["images"]

    def graphs(self, tiles: range | None = None) -> Batch:
        """The batch's tiles, or some of them, as a PyG Batch."""
        return Batch.from_data_list([self._tile(tile) for tile in tiles
                                     or range(len(self.images))])

    def _tile(self, tile: int) -> Data:
        batch, edges = self.arrays["batch"], self.arrays["edge_index"]
        mine = batch[edges[0]] == tile
        offset = int((batch < tile).sum())
        return Data(x=self.arrays["x"][batch == tile], edge_index=edges[:, mine] - offset,
                    edge_attr=self.arrays["edge_attr"][mine])


def read_pack(folder: Path, name: str) -> Pack:
    meta = json.loads((folder / f"{name}.json").read_text())
    arrays = {key: torch.from_numpy(np.asarray(value))
              for key, value in np.load(folder / f"{name}.npz").items()}
    fill = load_fill(folder)
    parameters = {key: torch.from_numpy(fill(key, tuple(shape)))
                  for key, shape in meta["state_dict"].items()}
    decoders = {}
    for head, shapes in meta["decoder_state_dicts"].items():
        filled = {f"decoder.{key}": torch.from_numpy(
            np.asarray(fill(f"decoder.{key}", tuple(shape)), dtype="float32"))
                  for key, shape in shapes.items()}
        if head.startswith("reg"):
            filled["decoder.bias"] += 3.0
        decoders[head] = filled
    return Pack(meta, arrays, parameters, decoders)


def load_fill(folder: Path):
    """The packs' own `fill(name, shape)`."""
    spec = importlib.util.spec_from_file_location("fill", folder / "fill.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.fill
