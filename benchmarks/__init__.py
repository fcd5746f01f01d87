"""The benchmarks' room: what Rose costs in time, memory and disk, as ratios within one run.

Each program (`python benchmarks/NAME.py`) offers `results(quick)`, lines of Markdown; `all.py`
writes `results.md` from them. `command.py`, `measure.py`, `machine.py` and `generated.py` are
shared, and `direct.py` is the plain form that speed is compared with. Benchmarks may not be
imported by the product, and no timing may become a test.
"""
