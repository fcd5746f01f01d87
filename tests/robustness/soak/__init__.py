"""The long form of the robustness tests: `make soak`, an hour on 2 cores.

The scripts run in forks of one process that has loaded every library (`warm.py`), on the inputs and
with the commands of `jobs.py`. `kills.py` kills them at random moments and continues, `inputs.py`
gives them damaged files and wrong values, `hostile.py` files that want to run code, write elsewhere
or reach the network."""
