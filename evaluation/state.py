"""The file that a stopped run of an evaluation continues from, and what it must say."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from models.network_file import BEST
from models.rose import MODEL_KEYS
from utils import checkpoint
from utils.checkpoint import OPTIMIZER, PRECISION
from utils.cli.overrides import written
from utils.contents import Anything, Either, Fields, Items, Null, Number, Table, Whole
from utils.errors import CheckpointError
from utils.recipes import RECIPES
from utils.rng import RNG_STATE
from utils.tensor_files import Weights, save_tensors

STATE = "state.tar"
POSITION = ("rows", "best", "epoch", "step", "global_step", "loss_sum")
_FORMAT = "rose-evaluation-1"


_FIGURE = Number(finite=False)  # nan where it is not defined
_RULE = Fields({
    "identity": Table(Anything()), "rows": Items(Table(_FIGURE)),
    "best": Either([Null(), Fields({"epoch": Whole(least=1), "score": _FIGURE})]),
    "epoch": Whole(least=1), "step": Whole(least=0), "global_step": Whole(least=0),
    "loss_sum": Number(), "model": Weights(), "optimizer": OPTIMIZER, "precision": PRECISION,
    "rng": Items(RNG_STATE, least=1)})


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write a run's state, whole or not at all."""
    save_tensors(path, {"format": _FORMAT, **state})


def read_state(path: Path, identity: dict[str, Any], defaults: dict[str, Any],
               steps_per_epoch: int,
               judged_epochs: Callable[[int], int]) -> dict[str, Any] | None:
    """Return what `write_state` wrote; None if there is no such file.

    Args:
        judged_epochs: how many of the first epochs were measured on val; each left a row.

    Raises:
        CheckpointError: the file is damaged, of a run with another `identity` (`check_identity`),
            or its position is none that a run can be in.
    """
    if not path.is_file():
        return None
    state = checkpoint.read_state(path, _FORMAT, _RULE, start_again(path))
    check_identity(path, state["identity"], identity, defaults)
    done, rows = state["epoch"] - 1, len(state["rows"])
    steps = done * steps_per_epoch + state["step"]
    best = state["best"] and state["best"]["epoch"]
    if (rows, state["global_step"]) != (judged_epochs(done), steps) or (
            state["step"] > steps_per_epoch or (best or 1) > max(done, 1) or (rows and not best)):
        raise CheckpointError(f"{path}: epoch {state['epoch']}, step {state['step']}, "
                              f"{state['global_step']} steps in all and {rows} epochs measured do "
                              f"not go together; {start_again(path)}")
    if best and not (path.parent / BEST).is_file():
        raise CheckpointError(f"{path.parent / BEST}: missing, expected the weights of epoch "
                              f"{best}, the best so far; {start_again(path)}")
    return state


def start_again(path: Path) -> str:
    """Return what to do about a file of a run that cannot be used."""
    return (f"`rm {shlex.quote(str(path))}`, and the same command makes this seed's run from the "
            "beginning")


def check_identity(path: Path, there: dict[str, Any], now: dict[str, Any],
                   defaults: dict[str, Any]) -> None:
    """Raise CheckpointError if the run at `path` has figures that depend on other values. A key
    that one of the two leaves out, such as one that is younger than the run, has its default."""
    names = now | there
    there, now = (defaults | _unstated(values) | values for values in (there, now))
    changed = [f"{name}={_brief(now.get(name))} (there {_brief(there.get(name))})"
               for name in names if now.get(name) != there.get(name)]
    if changed:
        raise CheckpointError(f"{path}: belongs to another run: {', '.join(changed)}; use its "
                              "values, or start anew with save_path=")


def _unstated(identity: dict[str, Any]) -> dict[str, Any]:
    """Return what a network is like if its description in `identity` does not say so."""
    recipe = RECIPES.get(str(identity.get("build.recipe")), RECIPES["rose"])
    return {"build.recipe": "rose", "build.image_positions": "rose",
            **{f"build.{name}": getattr(recipe, name) for name in MODEL_KEYS}}


def _brief(value: Any) -> str:
    """Return a value as it is written on a command line, a SHA-256 digest by its first letters."""
    text = written(value)
    return f"{text[:8]}..." if re.fullmatch("[0-9a-f]{64}", text) else text
