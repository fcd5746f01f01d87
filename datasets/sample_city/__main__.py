"""Write the sample city's raw files.

    python -m datasets.sample_city out=city tiles=12 seed=0
"""

from pathlib import Path

from datasets.keys import SAMPLE_CITY, SampleCityConfig
from utils.cli.command import command


@command(SAMPLE_CITY)
def main(cfg: SampleCityConfig) -> None:
    # libraries of geometry load for seconds, which --help and a mistyped key need not wait for
    from datasets.sample_city.write import write_sample_city

    city = write_sample_city(Path(cfg.out), cfg.tiles, cfg.seed, progress=True,
                             overwrite=cfg.overwrite)
    objects = ", ".join(f"{count} {layer}" for layer, count in city.written.items())
    files = ", ".join(path.name for path in (city.image, city.osm, city.landuse, city.population,
                                             city.co2, city.districts))
    print(f"Wrote {files} to {cfg.out}: {cfg.tiles} x {cfg.tiles} tiles of 224 m. "
          f"OSM objects: {objects}; left out on purpose: {sum(city.omitted.values())}.")


if __name__ == "__main__":
    main()
