"""The paper's studies, one command each: python -m studies.NAME.

A study varies the keys of an evaluation, runs it for each of its cells, and reports all cells in a
table and a figure; the attention study looks into a pretrained network. How a model is trained,
measured or drawn may not be written here: that belongs to evaluation/ and training/.
"""
