"""What stands beside the networks of a study: baselines, and whatever beats the fusions."""

import math
from types import SimpleNamespace

from studies.degraded import degraded_baselines
from studies.modalities import better_than_fusion


def outcome(baselines: dict[str, float], score: float = 0.5, **keys) -> SimpleNamespace:
    summary = {"baselines": {name: {"r2": value} for name, value in baselines.items()}}
    return SimpleNamespace(cell=SimpleNamespace(keys=keys), spread={"r2": (score, math.nan)},
                           summaries=(summary,))


def compared(**scores: float) -> list[SimpleNamespace]:
    return [outcome({"training mean": 0.0, "linear model": 0.7}, score, modality=name)
            for name, score in scores.items()]


def test_whatever_is_better_than_the_best_fusion_is_named_best_first():
    assert better_than_fusion(compared(image=0.4, fusion=0.5, fine=0.45, osm_raster=0.8),
                              "r2") == [
        "better R² than fusion (0.5000): osm_raster (0.8000), the linear model (0.7000)"]
    assert better_than_fusion(compared(image=0.4, fine=0.9, fusion=0.5), "r2") == []
    assert better_than_fusion(compared(image=0.4), "r2") == []
    assert better_than_fusion(compared(image=0.4, fusion=math.nan), "r2") == []


def test_a_baseline_that_reads_the_objects_has_a_line_of_its_own():
    outcomes = [outcome({"training mean": 0.0, "linear model": value}, modality=modality, ratio=x)
                for modality in ("osm", "fusion") for x, value in ((0.0, 0.7), (1.0, -0.2))]
    lines = degraded_baselines(outcomes, "ratio", "r2")
    assert list(lines) == ["linear model"]
    assert [point[:2] for point in lines["linear model"]] == [(0.0, 0.7), (1.0, -0.2)]
