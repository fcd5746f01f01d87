"""Maps of scenes by fine-tuned networks: `run` opens the scene and makes strips, a `MapKind` says
what a strip holds and writes the files.

A new kind of map is one file with a `MapKind`, and one line in `run.KINDS`.
"""
