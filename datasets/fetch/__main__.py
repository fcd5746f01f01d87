"""Fetch what a dataset is made of: imagery, OSM objects and population of an area.

    python -m datasets.fetch bbox=15.74,50.03,15.79,50.05 imagery=Esri.WorldImagery osm=overpass \\
        out=raw/mycity dry_run=true
    python -m datasets.fetch bbox=15.74,50.03,15.79,50.05 \\
        imagery='https://HOST/{z}/{x}/{y}.jpg' osm=https://HOST/country.osm.pbf \\
        population=https://HOST/population.tif out=raw/mycity

Servers are asked politely: few connections, as slowly as they wish, and nothing twice. Terms of a
provider are yours to keep; they are shown, and stored beside the files. A stopped run resumes.
"""

from datasets.keys import FETCH, FetchConfig
from utils.cli.command import command


@command(FETCH)
def main(cfg: FetchConfig) -> None:
    # libraries of geometry load for seconds, which --help and a mistyped key need not wait for
    from datasets.fetch.flow import fetch

    print(fetch(cfg))


if __name__ == "__main__":
    main()
