"""The evaluation of a network on labelled tiles: the two problems (land use, totals of people or
CO2), training and measuring one model a seed, metrics, baselines, and the figures of a run.

A new problem is a class here. Studies of several evaluations, and the use of a model on imagery
without labels, may not live here.
"""
