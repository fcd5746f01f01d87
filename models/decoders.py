"""Decoders of one Linear, and the units in which a regression is trained."""

from dataclasses import dataclass

from torch import Tensor, nn

from models import registry
from utils.errors import ModelError

SCALES = ("none", "standard", "log1p")
LARGEST_LOG = 50.0  # e^50, 5e21: no total is as large, and its square is finite


class LinearDecoder(nn.Module):
    """One Linear per token: [B, L, D] -> [B, L, classes]."""

    def __init__(self, width: int, num_classes: int):
        super().__init__()
        self.head = nn.Linear(width, num_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(tokens)


def build_decoder(name: str, width: int, num_classes: int) -> nn.Module:
    """Return decoder `name` from tokens [B, L, width] to scores [B, L, num_classes].

    Raises:
        ModelError: unknown name.
    """
    if name not in registry.DECODERS:
        raise ModelError(f"decoder={name}: choose one of {', '.join(registry.decoder_names())}")
    return registry.load(registry.DECODERS[name])(width, num_classes)


@dataclass(frozen=True)
class TargetScale:
    """The units in which a regression is trained: z = (f(y) - mean) / std with f the identity, or
    log(1 + y).

    Attributes:
        name: "none" (the release: z = y), "standard", or "log1p".
        mean, std: of f(y) over the training tiles.
    """

    name: str = "none"
    mean: float = 0.0
    std: float = 1.0

    @staticmethod
    def fit(name: str, totals: Tensor) -> "TargetScale":
        """Fit the scale `name` to the totals [n] of the training tiles, above -1 for "log1p".

        Raises:
            ModelError: unknown name.
        """
        if name not in SCALES:
            raise ModelError(f"target_scale={name}: choose one of {', '.join(SCALES)}")
        if name == "none":
            return TargetScale()
        if name == "log1p":
            totals = totals.log1p()
        spread = totals.std(correction=0).item()
        return TargetScale(name, totals.mean().item(), spread if spread > 0 else 1.0)

    def scale(self, totals: Tensor) -> Tensor:
        """Convert original units to units of training."""
        return ((totals.log1p() if self.name == "log1p" else totals) - self.mean) / self.std

    def unscale(self, z: Tensor) -> Tensor:
        """Convert units of training to original units."""
        y = z * self.std + self.mean
        return y.clamp(max=LARGEST_LOG).expm1() if self.name == "log1p" else y


class ScalarDecoder(nn.Linear):
    """One Linear to a scalar, then ReLU: an estimate is never negative (Rose section 4).

    Without a scale, weight and bias start at 1 and 0, and gradients pass through the ReLU, as in
    the paper. With a scale, both start at 0, so that the first estimate for every tile is the mean
    of the training tiles. The ReLU is then applied after unscaling; otherwise a head whose outputs
    were all negative would get no gradient.
    """

    def __init__(self, width: int, scale: TargetScale | None = None):
        super().__init__(width, 1)
        self.scale = scale or TargetScale()
        nn.init.constant_(self.weight, 1.0 if self.scale.name == "none" else 0.0)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, width] -> [B, 1] in units of training."""
        z = super().forward(x)
        return z.relu() if self.scale.name == "none" else z
