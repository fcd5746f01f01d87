"""train_rose.py, with products of any size by the functions that large networks use
(models/linear.py)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from models import linear
from train_rose import main

linear.FEWEST_PRODUCTS = 1

if __name__ == "__main__":
    main()
