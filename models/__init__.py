"""The network: encoders, spatially guided blocks, modalities, decoders, the authors' parameter
names, and networks on disk.

Files here may not know of tiles on disk, of runs, or of command lines. The names below are
imported on demand: a command line asks `models.registry` for choices without waiting for torch.
"""

from utils.on_demand import on_demand

_HOME = {
    "NetworkFile": "network_file", "Rose": "rose", "RoseOutput": "objectives",
    "build_regressor": "downstream", "build_rose": "building", "build_segmenter": "downstream",
    "load_release_state_dict": "release", "load_rose": "network_file",
    "save_rose": "network_file",
}
__all__ = ["NetworkFile", "Rose", "RoseOutput", "build_regressor", "build_rose",
           "build_segmenter", "load_release_state_dict", "load_rose", "save_rose"]

__getattr__ = on_demand(__name__, _HOME)
