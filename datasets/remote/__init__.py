"""Imagery on servers: fetched politely and piece by piece into a folder, and read there."""
