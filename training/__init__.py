"""Training and the use of devices: pretraining runs with their loader, schedule, records and
summary, measurements of a pretrained network, and whether a checkpoint fits the tiles at hand.

What only an evaluation, a map or a study needs may not live here.
"""
