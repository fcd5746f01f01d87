"""Where a city's tiles are made, and how they come into the dataset.

Work goes on in a hidden folder inside `out` and stays there when it is stopped, so that the same
command continues. When all is ready the tiles are moved to their place. Meanwhile a marker says
so: a process killed just then leaves a dataset that is refused until the same command has finished
the move.
"""

import re
import shutil
from pathlib import Path

from datasets.prepare.job import made_folder
from datasets.stores.open import UNFINISHED
from datasets.stores.release import release_folders
from utils.errors import PrepareError
from utils.work_folder import WorkFolder, request_text

_MOVING = "moving"
OTHER = {"compact": "release", "release": "compact"}


class Workplace(WorkFolder):
    """The work on one city in a dataset.

    Attributes:
        folder, discarded: as of any `WorkFolder`.
        finished: what that folder is called when its tiles are in their place.
        made: a folder in it for what will be moved: `cities/CITY`, or the folders of the release's
            layout.
    """

    def __init__(self, out: Path, city: str):
        super().__init__(out, f"preparing-{city}", f"preparing {city}")
        self.city = city
        self.finished = out / f".finished-{city}"
        self.made = made_folder(self.folder)
        self._marker = out / f"{UNFINISHED}{city}"

    def claim(self, request: dict, layout: str, overwrite: bool) -> bool:
        """Make the folder ready for a request; True where a stopped run of the same request left
        work to go on with.

        Raises:
            PrepareError: `out` holds this city or another layout already, or cannot be written.
        """
        text = request_text(request)
        if self.finished.is_dir():
            if self.asked(self.finished) == text:
                return True
            self.release_marker()  # whole and in its place: only its traces were not removed
            self.clear()
        self._refuse(layout, overwrite)
        return self.begin(request)

    def _refuse(self, layout: str, overwrite: bool) -> None:
        own = [] if self._marker.exists() else [path.name
                                                for path in _tiles_of(self.out,
                                                                      self.city)]  # half moved: nobody used it
        if own and not overwrite:
            found = f"{len(own)} tiles of {self.city}" if own != [
                self.city] else f"the city {self.city}"
            raise PrepareError(f"{self.out}: already holds {found}, expected none. Pass "
                               "overwrite=true to replace it, or choose another city= or out=.")
        if others := _cities_in(self.out, OTHER[layout]) - {self.city}:
            raise PrepareError(f"{self.out}: holds a dataset of another kind, "
                               f"layout={OTHER[layout]} with {', '.join(sorted(others)[:5])}; one "
                               f"folder has one layout. Pass layout={OTHER[layout]}, or choose "
                               "another out=.")

    @property
    def worth_keeping(self) -> bool:
        """Some band of tiles is made."""
        return any(self.folder.glob("reports/*.json"))

    @property
    def size(self) -> int:
        """Bytes of the work so far."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    @property
    def moved(self) -> bool:
        """The tiles are in their place; what comes after is not done yet."""
        return self.finished.is_dir()

    @property
    def moving(self) -> bool:
        return (self.folder / _MOVING).exists()

    def put_in_place(self) -> None:
        """Move what was made into `out`, in place of what it has of this city; goes on where it
        was stopped."""
        if not self.moving:
            self._marker.touch()
            _remove_city(self.out, self.city)
            (self.folder / _MOVING).touch()
        for part in sorted(path for path in self.made.iterdir() if path.is_dir()):
            for path in sorted(part.iterdir()):
                _move(path, self.out / part.name)
        self.folder.rename(self.finished)

    def release_marker(self) -> None:
        """From now on the dataset can be read."""
        self._marker.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove the traces of the work."""
        shutil.rmtree(self.finished)


def _move(path: Path, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    path.replace(folder / path.name)


def _tiles_of(out: Path, city: str) -> list[Path]:
    """The city's folder in the compact layout, or its images in the release's."""
    compact = out / "cities" / city
    name = re.compile(rf"{re.escape(city)}_\d+_\d+\.png")
    images = [path for path in (out / "img").iterdir()
              if name.fullmatch(path.name)] if (out / "img").is_dir() else []
    return [compact] if (compact / "meta.json").exists() else images


def _cities_in(out: Path, layout: str) -> set[str]:
    if layout == "compact":
        return {path.parent.name for path in out.glob("cities/*/meta.json")}
    images = (re.fullmatch(r"(.+)_\d+_\d+", path.stem) for path in out.glob("img/*.png"))
    return {match[1] for match in images if match}


def _remove_city(out: Path, city: str) -> None:
    shutil.rmtree(out / "cities" / city, ignore_errors=True)
    name = re.compile(rf"{re.escape(city)}_\d+_\d+")
    for folder in filter(Path.is_dir, release_folders(out)):
        for path in folder.iterdir():
            if name.fullmatch(path.stem):
                path.unlink()
    for suffix in (".json", ".text.npy"):
        (out / "meta" / f"{city}{suffix}").unlink(missing_ok=True)
    for folder in filter(Path.is_dir, (*release_folders(out), out / "cities")):
        if not any(folder.iterdir()):
            folder.rmdir()  # an empty one would say that the dataset has both layouts
