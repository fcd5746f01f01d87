"""datasets/prepare/text."""
