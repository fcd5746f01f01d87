"""What the key `cell=` says of points: how large a square each is the centre of."""

import re
from dataclasses import dataclass

from utils.errors import ConfigError

_CELL = re.compile(r"(\d+\.?\d*|\.\d+)\s*(m|deg)?", re.IGNORECASE)
_MOST = {"m": 1_000_000, "deg": 10}


@dataclass(frozen=True)
class CellSize:
    """The side of a square around each point; 0: a point counts where it lies."""

    side: float
    unit: str  # m or deg

    @classmethod
    def of(cls, key: str, text: str) -> "CellSize":
        """Return the size that a key's value states; raise ConfigError if it states none."""
        match = _CELL.fullmatch(text.strip())
        unit = (match[2] or "m").lower() if match else "m"
        if not match or float(match[1]) > _MOST[unit]:
            raise ConfigError(f"{key}={text}: expected the side of a square in metres, such as "
                              "250, or in degrees, such as 0.1deg (1,000,000 or 10deg at most), "
                              "or 0 for points that count where they lie")
        return cls(float(match[1]), unit)

    def __str__(self) -> str:
        return f"{self.side:.10g}" + ("deg" if self.unit == "deg" else "")
