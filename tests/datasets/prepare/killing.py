"""A preparation that is killed at a chosen call."""

import importlib
import multiprocessing
import os
import signal

from datasets.prepare.pipeline import prepare_tiles
from tests.datasets.prepare.places import Place


def kill(place: Place, layout: str, module: str, name: str, count: int) -> None:
    """Prepare all tiles into the folder out, in a process that is killed when `module.name` is
    called for the count-th time."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    arguments = (str(place.raster), str(place.osm), str(place.folder / "out"), layout, module,
                 name, count)
    process = context.Process(target=_prepare_and_die, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def _prepare_and_die(raster: str, osm: str, out: str, layout: str, module: str, name: str,
                     count: int) -> None:
    owner = importlib.import_module(module)
    original, calls = getattr(owner, name), []

    def wrapped(*args, **keys):
        calls.append(1)
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **keys)

    setattr(owner, name, wrapped)
    prepare_tiles(raster, osm, out, "c", tile_px=64, layout=layout, keep_empty=True, workers=1,
                  overwrite=True, progress=False)
