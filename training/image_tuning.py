"""How an image encoder with trained weights is trained on: frozen at first, or its lower layers at
lower rates (freeze=, layer_decay=)."""

import math
import re

from torch import nn

from utils.errors import ConfigError

RATES = ("lr_image_first", "lr_image_last")  # columns of metrics.csv


def frozen_epochs(freeze: str) -> float:
    """Return for how many epochs freeze= keeps the image encoder as it is: 0, N, or infinity.

    Raise ConfigError if it says none of these.
    """
    if freeze in ("none", "image"):
        return 0 if freeze == "none" else math.inf
    if match := re.fullmatch(r"image_epochs:([1-9][0-9]{0,8})", freeze):
        return int(match[1])
    raise ConfigError(f"freeze={freeze}: expected none, image, or image_epochs:N for the first N "
                      "epochs, N of 1 or more, such as image_epochs:5")


def check_freeze(freeze: str, epochs: int, key: str) -> None:
    """Raise ConfigError if freeze= is none of its values, or thaws the encoder after the last of
    the run's `epochs`, which `key` sets."""
    if 0 < epochs <= frozen_epochs(freeze) < math.inf:
        raise ConfigError(f"freeze={freeze}: {key}={epochs} leaves no epoch in which the image "
                          "encoder is trained; take fewer, or freeze=image to keep it as it is "
                          "throughout")


def layer_scale(name: str, depth: int, decay: float) -> float:
    """Return the share of the learning rate that a parameter of a Rose gets (BEiT, section A.3):
    decay^(depth - i) in block i of the image encoder, decay^(depth + 1) below its blocks, and 1
    elsewhere, its last norm included.

    Args:
        name: of the parameter in the Rose.
        depth: number of blocks of the image encoder.
    """
    _, inside, rest = name.partition("image_encoder.")
    if not inside or rest.startswith("norm."):
        return 1.0
    block = re.match(r"blocks\.(\d+)\.", rest)
    return decay ** (depth - int(block[1]) if block else depth + 1)


class ImageTuning:
    """Freezes and thaws an image encoder, and says its rates. Parameters that are frozen already
    stay so.

    With freeze=image they get no gradient from now on, so that an optimiser built later leaves
    them out. Otherwise the optimiser has all; one without a gradient stays as it is.

    Args:
        encoder: image encoder, not sharded or compiled yet.
        freeze: as of `frozen_epochs`.
        decay: as of `layer_scale`.
    """

    def __init__(self, encoder: nn.Module, freeze: str, decay: float):
        self.encoder, self.epochs, self.decay = encoder, frozen_epochs(freeze), decay
        self.depth = len(encoder.blocks)
        self.trained = {name for name, parameter in encoder.named_parameters()
                        if parameter.requires_grad}
        self.frozen = self.epochs == math.inf
        if self.frozen:
            encoder.requires_grad_(False)

    def begin(self, epoch: int) -> bool:
        """Freeze the encoder, without dropout, or thaw it, as is due in `epoch`; return whether
        that changes which parameters get a gradient."""
        before, self.frozen = self.frozen, epoch <= self.epochs
        if self.frozen:
            self.encoder.eval()
        if self.frozen == before:
            return False
        self.encoder.train(not self.frozen)
        for name, parameter in self.encoder.named_parameters():
            parameter.requires_grad_(name in self.trained and not self.frozen)
        return True

    def rates(self, lr: float) -> dict[str, float]:
        """Return the rates of the encoder's first layer and its last block, given that of the rest
        of the Rose; empty if they never differ from it."""
        if not self.epochs and self.decay == 1:
            return {}
        shares = [0.0, 0.0] if self.frozen else self.shares
        return {name: lr * share for name, share in zip(RATES, shares, strict=True)}

    @property
    def shares(self) -> list[float]:
        """What the first layer and the last block get of the rate, once they are trained."""
        return [self.decay ** (self.depth + 1), self.decay]
