"""datasets/prepare/geo."""
