"""Show runs as one page for the browser, complete in itself: losses, figures, maps, attention.

    python make_report.py runs/rose                        # report.html of one run
    python make_report.py runs/rose runs/sample_seg_fusion_finetune maps/city out=city.html

A run is the folder of a pretraining, an evaluation, a map, a study or a grid. Runs and studies
write such a page of their own; this script joins them, under a title of your own with
title="My city", and makes that of a grid, with links to its runs' pages.
"""

import os
from contextlib import ExitStack
from pathlib import Path

from reports.keys import MAKE_REPORT, MakeReportConfig
from utils.cli.command import command
from utils.errors import ConfigError, ReportError
from utils.files import replacing
from utils.locks import locked


@command(MAKE_REPORT)
def main(cfg: MakeReportConfig) -> None:
    # Imported here, so that keys are checked without waiting for matplotlib.
    from reports.page import REPORT, write_report
    from reports.poster import save_poster
    from reports.scene import is_scene

    if not cfg.runs:
        raise ConfigError("runs=[]: no folder given; name one or several: python make_report.py "
                          "runs/rose")
    folders, out = [Path(folder) for folder in cfg.runs], Path(cfg.out)
    maps = [folder for folder in folders if is_scene(folder)]
    _check_place("out", out, REPORT)
    if cfg.picture:
        _check_picture(Path(cfg.picture), maps)
    out.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as both:
        both.enter_context(locked(out.with_name(f".lock-{out.name}"), f"writing {out}",
                                  "give another out=", ReportError))
        if cfg.picture:  # it appears when the page is there, too
            save_poster(maps, both.enter_context(replacing(Path(cfg.picture))))
        write_report(folders, out, cfg.title)
    print(f"{out}: {len(folders)} run{'s' * (len(folders) > 1)}, {out.stat().st_size / 1e6:.1f} "
          "MB; open it in a browser")


def _check_picture(path: Path, maps: list[Path]) -> None:
    """Raise ConfigError if there is nothing to draw, or no picture can be written to `path`."""
    from reports.poster import FORMATS

    if not maps:
        raise ConfigError(f"picture={path}: none of the runs is a map; give a folder of "
                          "predict_scene.py or extract_features.py, or leave picture= out")
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"picture={path}: no format that can be written, expected a name that "
                          f"ends with {', '.join(FORMATS)}; give one such as maps.jpg")
    _check_place("picture", path, "maps.jpg")


def _check_place(key: str, path: Path, example: str) -> None:
    """Raise ConfigError if no file can be written to `path`."""
    if path.is_dir():
        raise ConfigError(f"{key}={path}: is a folder, expected the name of a file; give one in "
                          f"it, such as {path / example}")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise ConfigError(f"{key}={path}: {above} is no folder that can be written to, expected "
                          "one; give another path")


if __name__ == "__main__":
    main()
