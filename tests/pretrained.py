"""Checkpoints of small networks with random weights, as pretraining runs leave them."""

from pathlib import Path
from typing import Any

from models import build_rose
from utils.checkpoint import save_checkpoint


def save_pretrained(path: Path, trained_on: dict[str, Any] | None = None, **build: Any) -> Path:
    """Write a run's checkpoint, NAME.tar; the path of its weights alone.

    Args:
        trained_on: what its network knows of its tiles.
        build: arguments of `build_rose`.
    """
    build = {"image_encoder": "test_vit", **build}
    save_checkpoint(path, {"model": build_rose(**build).state_dict(), "build": build,
                           "trained_on": trained_on or {}, "global_step": 1})
    return path.with_suffix(".safetensors")
