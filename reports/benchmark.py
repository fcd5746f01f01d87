"""The section of the benchmark on a real city: its tables and curves."""

from pathlib import Path

from reports.blocks import Block, Section, drawn, settings, table
from reports.evaluation import RESULTS
from reports.markup import element, prose
from reports.read import json_object, reading
from reports.study import holds
from utils.contents import Anything, Fields, InnerPath, Items, Table, Text, fault

_TABLE = Fields({"title": Text(), "note": Text(), "header": Items(Text(), least=1),
                 "rows": Items(Items(Text(), least=1))})
_BENCHMARK = Fields({"benchmark": Text(), "head": Items(Text()), "tables": Items(_TABLE),
                     "figures": Items(InnerPath()), "config": Table(Anything())})


def is_benchmark(folder: Path) -> bool:
    """Return whether a folder holds the benchmark on a real city."""
    return holds(folder, b'"benchmark"', b'"tables"')


def benchmark_section(folder: Path, page: Path, report: str) -> Section:
    """Return the section of the benchmark in `folder`; as `study_section`."""
    with reading(folder / RESULTS, "the results of the benchmark"):
        record = _BENCHMARK.check(json_object(folder / RESULTS), "")
        for place, each in enumerate(record["tables"]):
            for line, row in enumerate(each["rows"]):
                if len(row) != len(each["header"]):
                    raise fault(f"tables[{place}].rows[{line}]", row,
                                f"{len(each['header'])} values as in the header")
        blocks = [Block(each["title"], [element("p", each["note"], class_="note"),
                                        table(each["header"], each["rows"], sortable=True)])
                  for each in record["tables"]]
        curves = [drawn(folder, name, _caption(name), f"{_caption(name)}.")
                  for name in record["figures"]]
        blocks[1:1] = [Block("Curves", curves)] if curves else []
        blocks.append(Block("What was asked", [settings(record["config"], "All keys")]))
    return Section("Benchmark", f"Benchmark: {record['benchmark']}", folder,
                   [*map(prose, record["head"])], [], blocks)


def _caption(name: str) -> str:
    task, _, what = name.rpartition("_")
    over = {"labels": "by number of labels", "removed": "with objects removed",
            "shifted": "with objects shifted"}.get(what, what)
    return f"{task.replace('_', ' ').capitalize()} {over}"
