"""The command line: programs described beside their keys, run by Hydra, with plain errors."""
