"""The network: two encoders, the spatially guided fusion, pretraining and downstream heads. Reads no files and no configs."""

import utils.torchvision_import  # noqa: F401  (first: timm imports torchvision)
from models.downstream import build_regressor, build_segmenter
from models.rose import Rose, RoseOutput, build_rose

__all__ = ["Rose", "RoseOutput", "build_regressor", "build_rose", "build_segmenter"]
