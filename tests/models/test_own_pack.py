"""The network against numbers kept in own_pack.npz, so that a drift shows also where the authors'
packs are not at hand.

The numbers come from the literal form of the method (direct.py), which agrees with the authors'
packs; `python -m tests.models.test_own_pack` writes them anew.
"""

import zlib
from pathlib import Path

import numpy as np
import torch

from models import build_rose, build_segmenter
from models.rose import Rose
from tests.models import direct
from tests.models.conftest import SMALL, random_graphs

PACK = Path(__file__).with_name("own_pack.npz")


def own_rose() -> Rose:
    """Parameters that follow from their names, so that they need not be kept."""
    rose = build_rose(SMALL)
    with torch.no_grad():
        for name, parameter in rose.named_parameters():
            parameter.copy_(values(name,
                                   parameter.shape) * (0.5 / max(parameter.shape[-1], 4) ** 0.5
                                                       if parameter.ndim > 1 else 0.1))
            if parameter.ndim == 1 and name.endswith("weight"):
                parameter.add_(1)
    return rose.eval()


def own_batch():
    image_mask = values("image mask", (3, 12)).argsort(1) >= 3
    node_mask = torch.tensor([True, False, False, True, False, True])
    return values("images", (3, 3, 48, 64)), random_graphs([4, 0, 2]), image_mask, node_mask


def values(name: str, shape) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(zlib.crc32(name.encode())).standard_normal(
        tuple(shape)).astype("float32"))


def literal_numbers() -> dict[str, np.ndarray]:
    rose, (images, graphs, image_mask, node_mask) = own_rose(), own_batch()
    with torch.no_grad():
        image_loss, osm_loss, image_pred, osm_pred = direct.losses(rose, images, graphs,
                                                                   image_mask, node_mask)
        fine = direct.fuse_fine(rose, images, graphs)
    numbers = {"image_loss": image_loss, "osm_loss": osm_loss,
               "image_pred": image_pred[:, :, ::32], "osm_pred": osm_pred[:, ::8],
               "fine": fine}
    return {name: tensor.numpy() for name, tensor in numbers.items()}


@torch.no_grad()
def test_against_the_kept_numbers():
    rose, batch = own_rose(), own_batch()
    out = rose(*batch)
    kept = np.load(PACK)
    found = {"image_loss": out.image_loss, "osm_loss": out.osm_loss,
             "image_pred": out.image_pred[:, :, ::32],
             "osm_pred": out.osm_pred[:, ::8], "fine": rose.fuse(*batch[:2], "fine")}
    for name, tensor in found.items():
        np.testing.assert_allclose(tensor.numpy(), kept[name], atol=1e-5, err_msg=name)
    segmenter = build_segmenter(rose, "fine", num_classes=2)
    assert segmenter(*batch[:2]).shape == (3, 2, 48, 64)


if __name__ == "__main__":
    np.savez_compressed(PACK, **literal_numbers())
