"""The benchmarks' room: what Rose costs in time, memory and disk, as ratios within one run.

Each module here is a program (`python benchmarks/NAME.py`) and offers `results(quick)`, lines of
Markdown; `all.py` writes `results.md` from them. `command.py`, `measure.py`, `machine.py` and
`generated.py` are what they share, and `direct.py` is the plain form that speed is compared with.
Benchmarks may import every other room. They may not be imported by the product, and no timing may
become a test.
"""
