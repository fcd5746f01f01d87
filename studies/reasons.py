"""Why claims hold or fail: what was measured of the networks that they are about."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from reports.attention_study import PARTS
from reports.claims import FAILS, LOSS, asked
from studies.association import Association
from studies.verdicts import Verdict
from utils.tables import NOTHING, label_of

HEADER = ("network", "attention on the own box, times chance", "what objects add in the fusion",
          "its length, over that of what it is added to", "of it, differs between a tile's patches",
          "weights of objects in a patch, times their mean",
          "change of the own box by its object, times chance")
NO_REASON = "no measured reason"
LITTLE = 0.05  # of what objects add: if less differs between patches, they are hardly told apart

_Records = Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]  # of a recipe and a city


def measured(associations: Sequence[Association]) -> list[list[str]]:
    """Return the rows under HEADER, one a city, recipe and part of a fusion; means over networks of
    one city and recipe, as of several seeds. A part that no network has is left out, unless it is
    the fusion's first."""
    rows = []
    for (recipe, city), records in _grouped(associations).items():
        for fusion in records[0]["fusions"]:
            change = _mean([record["fusions"].get(fusion, {}).get("lift") for record in records],
                           "{:.2f}")
            for part, what in PARTS.get(fusion, {fusion: fusion}).items():
                added = [record.get("adds", {}).get(part, {}) for record in records]
                if any(added) or change != NOTHING:
                    rows.append([f"{recipe}, {city}", _mean(
                        [record.get("lift") for record in records], "{:.2f}"), what,
                        *_added(added), change])
                change = NOTHING  # of the fusion as a whole, beside its first part
    return rows


def reasons(verdicts: Sequence[Verdict], associations: Sequence[Association]) -> list[str]:
    """Return a line for each measured reason of a recipe and city, with the claims that fail for
    it, and one for those that have none."""
    records, lines = _grouped(associations), {}
    for verdict in verdicts:
        if verdict.verdict in (FAILS, LOSS):
            who = verdict.recipe, verdict.city
            reason = _reason(verdict, records.get(who, ()))
            lines.setdefault((who, reason), []).append(": ".join(titled(verdict)))
    return [f"{', '.join(who)}: {f'{reason}. Therefore these fail' if reason else NO_REASON}: "
            f"{'; '.join(claims)}" for (who, reason), claims in lines.items()]


def outdated(associations: Sequence[Association]) -> list[str]:
    """Return the folders of studies of an earlier version, which measured the parts of the global
    fusion otherwise."""
    return [str(each.folder) for each in associations
            if "message" not in each.record.get("adds", {})]


def titled(verdict: Verdict) -> tuple[str, str]:
    """Return a claim's title, with how large the difference should be, and of what it is."""
    return (", ".join(filter(None, (verdict.title, asked(verdict.record)))),
            ", ".join(filter(None, (f"{verdict.task} ({label_of(verdict.figure)})", verdict.case))))


def _reason(verdict: Verdict, records: Sequence[Mapping[str, Any]]) -> str:
    """Return why a claim fails: what other cells of the benchmark say, and where its fusion hears
    of objects; "" if nothing was measured."""
    varies = [np.mean(known) for part in PARTS.get(verdict.hears, ()) if (known := [
        each["varies"] for record in records
        if (each := record.get("adds", {}).get(part)) and each["varies"] is not None])]
    alike = (f"of what objects add in the {verdict.hears} fusion, {max(varies):.1%} differs "
             "between a tile's patches; the rest is the same everywhere"
             if varies and max(varies) <= LITTLE else "")
    return "; and ".join(filter(None, (alike, verdict.because)))


def _grouped(associations: Sequence[Association]) -> _Records:
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for each in associations:
        groups.setdefault((each.recipe, each.city), []).append(each.record)
    return groups


def _added(records: Sequence[Mapping[str, Any]]) -> list[str]:
    weights = [record["weights"] for record in records if record.get("weights")]
    low, high = np.mean(weights, axis=0) if weights else (None, None)
    return [_mean([record.get("norm_ratio") for record in records], "{:.2f}"),
            _mean([record.get("varies") for record in records], "{:.1%}"),
            f"{low:.2f} to {high:.2f}" if weights else NOTHING]


def _mean(values: Sequence[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return form.format(np.mean(known)) if known else NOTHING
