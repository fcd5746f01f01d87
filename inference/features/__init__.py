"""Representations of tiles and patches to files."""
