"""What the claims leave: a section in Markdown, also in a page of the docs, claims.csv,
results.json and a page for the browser."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reports import REPORT, write_report
from reports.claims import CLAIMED, NOT_MEASURED, RULE, TIMES_CHANCE, held, is_claims, shown
from reports.evaluation import RESULTS
from studies.association import Association
from studies.claim_list import RECIPES
from studies.keys import ClaimsConfig
from studies.reasons import HEADER, measured, outdated, reasons, titled
from studies.verdicts import Verdict
from utils.errors import ConfigError, ReportError, one_line
from utils.files import replacing
from utils.outputs import write_csv, write_json
from utils.tables import NOTHING, markdown_table

BEGIN, END = "<!-- claims: written by python -m studies.claims -->", "<!-- end of claims -->"
TITLE = "What is claimed, and what holds"
_ONE_SEED = "¹"
_MOST_PAGE = 4 << 20  # bytes of a Markdown file


def check_out(out: Path) -> None:
    """Raise ConfigError if the folder of the outputs has the results of another command."""
    if (out / RESULTS).is_file() and not is_claims(out):
        raise ConfigError(f"out={out}: its {RESULTS} is of another command, expected a folder of "
                          "its own for the claims; give another out=, such as runs/claims")


def write(cfg: ClaimsConfig, verdicts: Sequence[Verdict], associations: Sequence[Association],
          lacking: Sequence[str]) -> None:
    """Write all outputs, each whole or absent; `lacking` says what is not measured.

    Raise ReportError, before anything is written, if the page cannot be rewritten.
    """
    section = in_markdown(cfg, verdicts, associations, lacking)
    page = with_section(Path(cfg.page), section) if cfg.page else None
    folder = Path(cfg.out)
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "claims.csv", [_flat(verdict) for verdict in verdicts])
    write_json(folder / RESULTS, {
        CLAIMED: [verdict.record for verdict in verdicts],
        "measured": [dict(zip(HEADER, row, strict=True)) for row in measured(associations)],
        "reasons": reasons(verdicts, associations), "unmeasured": list(lacking),
        "runs": list(cfg.runs),
        "attention": list(cfg.attention_runs or []), "config": asdict(cfg)})
    with replacing(folder / "claims.md") as temporary:
        temporary.write_text(section, encoding="utf-8")
    write_report([folder], folder / REPORT)
    if page is not None:
        with replacing(Path(cfg.page)) as temporary:
            temporary.write_text(page, encoding="utf-8")


def in_words(cfg: ClaimsConfig, verdicts: Sequence[Verdict],
             associations: Sequence[Association], lacking: Sequence[str]) -> str:
    """Return the section as it is printed, and where the outputs are."""
    page = f"; the section between its marks in {cfg.page}" if cfg.page else ""
    section = in_markdown(cfg, verdicts, associations, lacking)
    return (f"{section}\nOutputs in {cfg.out}: {REPORT}, a page for the browser, claims.md, "
            f"claims.csv, results.json{page}")


def in_markdown(cfg: ClaimsConfig, verdicts: Sequence[Verdict],
                associations: Sequence[Association], lacking: Sequence[str]) -> str:
    """Return the section: the paper's claims, the aims, and reasons."""
    command = f"python -m studies.claims runs=[{','.join(cfg.runs)}]" + (
        f" attention_runs=[{','.join(cfg.attention_runs)}]" if cfg.attention_runs else "")
    lines = [f"## {TITLE}", "", f"    {command}", "",
             "Each figure is a difference, or a multiple of chance (1 is chance), with its 95 % "
             "interval, paired by tile (block bootstrap), of the folds and seeds that both models "
             "have.", "", RULE, "",
             held(verdict.record for verdict in verdicts)]
    if lacking:
        lines += ["", f"{NOT_MEASURED}: {'. '.join(lacking)}."]
    if any(_single(verdict, verdicts) for verdict in verdicts):
        lines += ["", f"{_ONE_SEED} One seed, where other claims have several: over tiles alone."]
    for aim, name in ((False, "of the paper"), (True, "beyond the paper (aim)")):
        chosen = [verdict for verdict in verdicts if verdict.aim is aim]
        if chosen:
            lines += ["", _pivot(f"claim {name}", chosen, verdicts)]
    if because := measured(associations):
        lines += ["", "Why, as measured in the networks (the weights are the 5 and 95 % of all "
                  "objects and patches):", "", markdown_table(HEADER, because)]
    if before := outdated(associations):
        lines += ["", f"Made by an earlier version, which measured what the global fusion adds "
                  f"otherwise: {', '.join(before)}. `python -m studies.attention` makes them anew."]
    if failing := reasons(verdicts, associations):
        lines += ["", "Why claims fail, by these measurements:", "",
                  *(f"- {reason}" for reason in failing)]
    return "\n".join([*lines, ""])


def with_section(page: Path, section: str) -> str:
    """Return the text of a page whose marked section is `section`; without marks it is put below
    the page's title. Raise ReportError if the page cannot be read, or its marks are not a pair."""
    try:
        if page.stat().st_size > _MOST_PAGE:
            raise ValueError(f"it is larger than {_MOST_PAGE} bytes")
        text = page.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ReportError(f"page={page}: cannot be read as Markdown ({one_line(error)}), expected "
                          "the page in which the section is to stand; give another page=, or "
                          "leave it out") from error
    marked = f"{BEGIN}\n{section}{END}\n"
    if text.count(BEGIN) != text.count(END) or text.count(BEGIN) > 1:
        raise ReportError(f"page={page}: has {text.count(BEGIN)} marks {BEGIN} and "
                          f"{text.count(END)} marks {END}, expected one of each or none; mend the "
                          "page")
    if BEGIN in text:
        before, _, rest = text.partition(BEGIN)
        _, end, after = rest.partition(END)
        if not end:
            raise ReportError(f"page={page}: the mark {END} stands above {BEGIN}, expected it "
                              "below; mend the page")
        return before + marked + after.removeprefix("\n")
    title, newline, rest = text.partition("\n")
    return f"{title}{newline}\n{marked}{rest}"


def _single(verdict: Verdict, verdicts: Sequence[Verdict]) -> bool:
    """Whether a verdict is of one seed, and others on that recipe and city of more."""
    return verdict.seeds == [1] and any(
        other.seeds != [1] for other in verdicts
        if (other.city, other.recipe) == (verdict.city, verdict.recipe)
        and other.figure != TIMES_CHANCE)


def _pivot(heading: str, chosen: Sequence[Verdict], verdicts: Sequence[Verdict]) -> str:
    """Return a table with a row a claim and case, and a column a city and recipe.

    Args:
        chosen: those of the table.
        verdicts: all.
    """
    recipes = [*RECIPES]
    cities = list(dict.fromkeys(each.city for each in chosen))
    columns = sorted({(each.city, each.recipe) for each in chosen},
                     key=lambda column: (cities.index(column[0]), recipes.index(column[1])))
    rows: dict[tuple[Any, ...], dict[tuple[str, str], str]] = {}
    for each in chosen:
        mark = f" {_ONE_SEED}" * _single(each, verdicts)
        rows.setdefault(titled(each), {})[each.city, each.recipe] = shown(each.record) + mark
    return markdown_table([heading, "of", *(f"{recipe}, {city}" for city, recipe in columns)], [
        [title, where, *(cells.get(column, NOTHING) for column in columns)]
        for (title, where), cells in rows.items()])


def _flat(verdict: Verdict) -> dict[str, Any]:
    low, high = verdict.interval or ("", "")
    record = {name: value for name, value in verdict.record.items()
              if name not in ("interval", "seeds")}
    return {**record, "seeds": " or ".join(map(str, verdict.seeds)), "low": low, "high": high}


