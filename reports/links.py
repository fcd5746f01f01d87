"""Links from a page to the pages of the runs that it joins."""

import os
from pathlib import Path
from urllib.parse import quote

from reports.markup import Markup, element


def run_link(folder: Path, words: str, page: Path, name: str) -> Markup:
    """Return `words`, as a link to the file `name` in a run's `folder` if it is there.

    Args:
        page: the folder of the page that holds the link.
    """
    target = folder / name
    if not target.is_file():
        return element("span", words)
    return element("a", words, href=quote(os.path.relpath(target.resolve(), page.resolve())))
