"""What follows from the keys given to an evaluation, and from those not given."""

_SAMPLE_TILES = ["sample_tiles=12",
                 "data_root='${save_root_dir}/sample_city_${sample_tiles}/tiles'", "num_workers=0"]


def implied(given: dict[str, str]) -> list[str]:
    """Without tiles, the sample city, with rates that suit it unless a task is given; for CO2
    without a task, the rates of a CO2 task."""
    overrides = []
    if "data_root" not in given:
        overrides += _SAMPLE_TILES if "task" in given else ["experiment=sample"]
    if given.get("target") == "co2" and "task" not in given:
        overrides.append("task=co2")
    return overrides
