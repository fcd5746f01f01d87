"""The hidden folder in which a city's tiles are made, and how they come into the dataset.

While tiles are moved, a marker in the dataset says so: readers refuse it until the same command
has completed the moves.
"""

from collections.abc import Sequence
from pathlib import Path

from datasets.prepare.job import made_folder
from datasets.stores.city import META, MODALITIES, cities_of, city_of, in_words, modalities_of
from datasets.stores.open import UNFINISHED
from datasets.stores.release import release_folders
from utils.contents import read_json
from utils.errors import PrepareError
from utils.work_folder import WorkFolder

OTHER = {"compact": "release", "release": "compact"}


class CityFolder(WorkFolder):
    """The work on one city; `made` holds `cities/CITY`, or the folders of the release's layout."""

    def __init__(self, out: Path, city: str):
        super().__init__(out, f"preparing-{city}", f"preparing {city}")
        self.city = city
        self.finished = out / f".finished-{city}"
        self.made = made_folder(self.folder)
        self._marker = out / f"{UNFINISHED}{city}"

    def claim(self, request: dict, layout: str, modalities: Sequence[str],
              overwrite: bool) -> None:
        """Make the folder ready for a request, unless its tiles are in their place already. Raise
        PrepareError if `out` holds this city, another layout or cities of other modalities, or
        cannot be written."""
        if self.finished.is_dir():
            self._marker.unlink(missing_ok=True)
            if self.asked(self.finished, request):
                return
            self.clear()
        self._refuse(layout, overwrite)
        self._refuse_others(modalities)
        self.begin(request)

    @property
    def worth_keeping(self) -> bool:
        """Whether a band of tiles is finished."""
        return any(self.folder.glob("reports/*.json"))

    def publish(self, stale: Sequence[str]) -> None:
        """Move what was made into `out`, in place of what it holds of this city and of the paths
        `stale` there."""
        self._marker.unlink(missing_ok=True)  # if it is a link, it may lead anywhere
        self._marker.touch()
        moves = sorted(path.relative_to(self.made).as_posix() for path in self.made.glob("*/*"))
        self.install(moves, [*_files_of(self.out, self.city), *stale])

    def _move(self) -> None:
        super()._move()
        self._marker.unlink(missing_ok=True)

    def _refuse(self, layout: str, overwrite: bool) -> None:
        if others := _cities_in(self.out, OTHER[layout]) - {self.city}:
            raise PrepareError(f"{self.out}: holds a dataset of another kind, "
                               f"layout={OTHER[layout]} with {', '.join(sorted(others)[:5])}; one "
                               f"folder has one layout. Pass layout={OTHER[layout]}, or choose "
                               "another out=.")
        # tiles that were only half moved have never been used
        tiles = [] if self._marker.exists() else _tiles_of(self.out, self.city)
        if tiles and not overwrite:
            held = (f"the city {self.city}" if tiles[0].name == self.city
                    else f"{len(tiles)} tiles of {self.city}")
            raise PrepareError(f"{self.out}: already holds {held}, expected none. Pass "
                               "overwrite=true to replace it, or choose another city= or out=.")


    def _refuse_others(self, modalities: Sequence[str]) -> None:
        """Raise PrepareError if another city has other modalities: a network reads all alike."""
        for city in sorted({*_cities_in(self.out, "compact"), *_cities_in(self.out, "release")}
                           - {self.city}):
            others = _modalities_in(self.out, city)
            if set(others) != set(modalities):
                raise PrepareError(f"{self.out}: the tiles of {city} there have "
                                   f"{in_words(others)}, and those of {self.city} would have "
                                   f"{in_words(modalities)}; one folder has tiles of one kind. "
                                   "Choose another out=.")


def _modalities_in(out: Path, city: str) -> tuple[str, ...]:
    """Return what the tiles of a city in a dataset have."""
    for path in (out / "cities" / city / "meta.json", out / "meta" / f"{city}.json"):
        if path.is_file():
            return modalities_of(read_json(path, META, "choose another out=", PrepareError))
    return MODALITIES


def _tiles_of(out: Path, city: str) -> list[Path]:
    """Return the city's folder in the compact layout, or its images in the release's."""
    compact = out / "cities" / city
    if (compact / "meta.json").exists():
        return [compact]
    return [path for path in out.glob("img/*.png") if city_of(path.stem) == city]


def _files_of(out: Path, city: str) -> list[str]:
    """Return all paths in a dataset that belong to a city, in either layout."""
    tiles = [path.relative_to(out).as_posix() for folder in release_folders(out)
             for path in folder.glob("*") if city_of(path.stem) == city]
    return [f"cities/{city}", *tiles, f"meta/{city}.json", f"meta/{city}.text.npy"]


def _cities_in(out: Path, layout: str) -> set[str]:
    if layout == "compact":
        return {path.parent.name for path in out.glob("cities/*/meta.json")}
    return set(cities_of(path.stem for path in out.glob("img/*.png")))
