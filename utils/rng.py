"""The state of every random generator of a process."""

import random
from typing import Any

import numpy as np
import torch

from utils.contents import Either, Fields, Items, Null, Number, Text, Whole
from utils.tensor_files import Dense

_BYTES = Dense((torch.uint8,))
# what `rng_state` returns
RNG_STATE = Fields({
    "torch": Dense((torch.uint8,), shape=tuple(torch.get_rng_state().shape)),
    "cuda": Items(_BYTES),
    "numpy": Items([Text(("MT19937",)), Dense((torch.int64,), shape=(624,)), Whole(0, 624),
                    Whole(0, 1), Number()]),
    "python": Items([Whole(3, 3), Items(Whole(0, 2**32 - 1), 625, 625),
                     Either([Null(), Number()])])})


def rng_state() -> dict[str, Any]:
    """Return the state of every random generator of this process."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss],
        "python": random.getstate(),
    }


def set_rng_state(state: dict[str, Any]) -> None:
    """Put every random generator of this process back into a `state` of `rng_state`."""
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    version, numbers, gauss_next = state["python"]
    random.setstate((version, tuple(numbers), gauss_next))
