"""Evaluation of pretrained networks: segmentation of land use, regression of totals."""
