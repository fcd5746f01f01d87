"""What was extracted, in words."""

from pathlib import Path
from typing import Any


def in_words(out: str, record: dict[str, Any]) -> str:
    """The record of an extraction as a reader wants it: what was made of what, and where it lies."""
    cities = [area["name"] for area in record["areas"]]
    fusion = f" ({record['fusion']} fusion)" if "fused" in record["representations"] else ""
    several = f" ({len(cities)} cities)" if len(cities) > 1 else ""
    lines = ["", f"Features of {record['tiles']} tiles of {record['source']}{several}:",
             f"  {', '.join(record['representations'])}{fusion}, by {record['checkpoint']}"]
    if record["fused_pca_explained"]:
        shares = ", ".join(f"{share:.0%}" for share in record["fused_pca_explained"])
        lines.append(f"  the first three components of the fused patches explain {shares} of their variance")
    width = max(len(file["name"]) for file in record["files"])
    return "\n".join([*lines, *(f"note: {note}" for note in record["notes"]), f"Outputs in {Path(out)}:",
                      *(f"  {file['name']:{width}}  {file['what']}" for file in record["files"])])
