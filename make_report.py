"""Show runs as one page for the browser, which is complete in itself: losses, figures, maps, and where objects look.

    python make_report.py runs/rose                                          # report.html of one run
    python make_report.py runs/rose runs/sample_seg_fusion_finetune maps/city out=city.html title="My city"

A run is the folder of a pretraining, an evaluation or a map. Each writes such a page of its own; this joins them.
"""

from pathlib import Path

from utils.cli import script
from utils.config import MakeReportConfig
from utils.errors import ConfigError
from utils.html import write_report
from utils.html.scene import is_scene
from utils.scene.poster import save_poster


@script("make_report", MakeReportConfig, positional=("runs",))
def main(cfg: MakeReportConfig) -> None:
    if cfg.picture and not any(is_scene(Path(folder)) for folder in cfg.runs):
        raise ConfigError(f"picture={cfg.picture}: none of the runs is a map; give a folder of predict_scene.py or extract_features.py, or "
                          f"leave picture= out")
    if not cfg.runs:
        raise ConfigError("runs=[]: no folder given; name one or several: python make_report.py runs/rose")
    out = Path(cfg.out)
    write_report([Path(folder) for folder in cfg.runs], out, cfg.title)
    if cfg.picture:
        save_poster([Path(folder) for folder in cfg.runs if is_scene(Path(folder))], Path(cfg.picture))
    print(f"{out}: {len(cfg.runs)} run{'s' * (len(cfg.runs) > 1)}, {out.stat().st_size / 1e6:.1f} MB; open it in a browser")


if __name__ == "__main__":
    main()
