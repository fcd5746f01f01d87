"""Maps and features of whole scenes and datasets. `maps/` turns outputs of fine-tuned networks
into rasters and tables; `features/` writes a pretrained network's vectors of tiles and patches;
both share the opened scene, the numbered pieces of a run, GeoTIFFs and the folder of results.

Nothing here trains, and it may not import `evaluation`: a network comes from a file. The names
below are imported on demand: the command line must not wait for torch.
"""

from utils.on_demand import on_demand

_HOME = {"extract_features": "features.run", "map_scene": "maps.run"}
__all__ = ["extract_features", "map_scene"]

__getattr__ = on_demand(__name__, _HOME)
