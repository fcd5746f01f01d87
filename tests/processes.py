"""The environment of processes that tests start."""

import os

# What a run of several processes leaves in the environment of the one that started it: another run
# would take its port.
OF_ONE_RUN = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "RANK", "WORLD_SIZE",
              "LOCAL_WORLD_SIZE")


def environment() -> dict[str, str]:
    """This process's, but one thread each, and nothing of runs that this process has made
    itself."""
    return {name: value for name, value in os.environ.items()
            if name not in OF_ONE_RUN} | {"OMP_NUM_THREADS": "1"}
