"""datasets/prepare/targets."""
