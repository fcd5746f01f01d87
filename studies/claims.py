"""The paper's claims and the aims beyond it, each with its interval and a verdict, in one table.

    python -m studies.claims runs=[runs/benchmark]
    python -m studies.claims runs=[runs/benchmark,runs/benchmark_sample] \\
        attention_runs=[runs/attention_rose,runs/attention_plus] page=docs/results.md

`runs` are folders of finished benchmarks, one a city; `attention_runs` those of `python -m
studies.attention`, whose network and city say which column they are of. Differences are paired by
tile, their intervals over tiles, and over seeds where a model has several
(evaluation/intervals.py). Outputs are in `out`; `page=` names a Markdown file in which the section
between the marks is written anew, and nothing else.
"""

from pathlib import Path

from studies.keys import CLAIMS, ClaimsConfig
from utils.cli.command import command
from utils.errors import CheckpointError
from utils.locks import alone_in


@command(CLAIMS)
def main(cfg: ClaimsConfig) -> None:
    # these import torch, for which --help and a mistyped key need not wait
    from studies.association import attention_runs
    from studies.claim_list import claims
    from studies.claims_report import check_out, in_words, write
    from studies.verdicts import read_benchmarks, unmeasured, verdicts, verdicts_on_attention

    with alone_in(Path(cfg.out), "out"):
        check_out(Path(cfg.out))
        benchmarks = read_benchmarks(cfg.runs)
        judged = [verdict for benchmark in benchmarks
                  for verdict in verdicts(benchmark, claims())]
        associations = attention_runs(cfg.attention_runs or [])
        judged += verdicts_on_attention(associations)
        if not judged:
            raise CheckpointError(f"runs=[{','.join(cfg.runs)}]: has no two cells that a claim "
                                  "compares, expected rows such as image and fusion; let the same "
                                  "benchmark run with more rows=")
        lacking = [line for benchmark in benchmarks for line in unmeasured(benchmark, claims())]
        write(cfg, judged, associations, lacking)
        print(in_words(cfg, judged, associations, lacking))


if __name__ == "__main__":
    main()
