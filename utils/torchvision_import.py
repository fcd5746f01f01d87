"""Import torchvision beside a torch build that it was not compiled for.

A registry wheel of torchvision is compiled for CUDA torch. Beside CPU-only torch `import
torchvision` fails: it registers shape functions for two operators (`nms`, `qnms`) that do not
exist. Rose needs no compiled operator, so the two schemas are declared, only when the import fails
in just this way. Imported first wherever torchvision, timm or torchmetrics is.
"""

import sys

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
# kept alive: its schemas go when it goes
_declared = torch.library.Library("torchvision", "FRAGMENT")


def import_torchvision() -> None:
    """Import torchvision, declaring the operators `nms` and `qnms` where their absence alone stops
    the import.

    Raises:
        ImportError, RuntimeError: torchvision is absent, or fails for another reason; nothing is
            hidden.
    """
    for operator in ("nms", "qnms", None):
        try:
            import torchvision  # noqa: F401
            return
        except RuntimeError as error:
            if operator is None or "operator torchvision::" not in str(
                error) or "does not exist" not in str(error):
                raise
            _forget_half_imported()
            _declared.define(operator + _SCHEMA)


def _forget_half_imported() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]


import_torchvision()
