"""The network: encoders, the spatially guided blocks, heads, release names, and networks read from
their files.

Nothing here may know of tiles on disk, of runs or of keys: it takes tensors and graphs, and gives
tensors.
"""

import utils.torchvision_import  # noqa: F401  (first: timm imports torchvision)
from models.downstream import build_regressor, build_segmenter
from models.network_file import load_rose
from models.release import load_release_state_dict
from models.rose import Rose, RoseOutput, build_rose

__all__ = ["Rose", "RoseOutput", "build_regressor", "build_rose", "build_segmenter",
           "load_release_state_dict", "load_rose"]
