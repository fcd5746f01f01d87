"""What stands beside the networks of a study: baselines, and whatever beats the fusions."""

import math

import pytest

from studies.degraded import degraded_baselines
from studies.grid import Cell, Outcome
from studies.modalities import better_than_fusion


class Scored(Outcome):
    """An outcome whose score is given, not the mean over its runs."""

    @property
    def spread(self):
        return {"r2": (self.cell.keys["score"], math.nan)}


def outcome(*folds: dict[str, float], score: float = 0.5, **keys) -> Outcome:
    """The outcome of runs with these baselines, a run a fold."""
    return Scored(Cell(keys | {"score": score}, ()), tuple(
        {"baselines": {name: {"r2": value} for name, value in baselines.items()}}
        for baselines in folds))


def compared(**scores: float) -> list[Outcome]:
    return [outcome({"training mean": 0.0, "linear model": 0.7}, score=score, modality=name)
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


def test_baselines_beside_folds_are_the_mean_of_all():
    folds = [{"training mean": 0.1, "linear model": value} for value in (0.9, 0.2, 0.1)]
    assert better_than_fusion([outcome(*folds, score=0.5, modality="fusion")], "r2") == []
    outcomes = [outcome(*folds, ratio=0.0), outcome(*[{"training mean": 0.1, "linear model": 0.1}],
                                                    ratio=1.0)]
    lines = degraded_baselines(outcomes, "ratio", "r2")
    assert list(lines) == ["linear model"], "a rounded mean is no other figure"
    assert [point[1] for point in lines["linear model"]] == pytest.approx([0.4, 0.1])
