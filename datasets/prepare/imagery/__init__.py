"""datasets/prepare/imagery."""
