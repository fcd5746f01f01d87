"""inference/maps."""
