"""utils/cli."""
