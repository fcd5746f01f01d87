"""Features of tiles and patches by a pretrained network: `sources` are the tiles, `encode` makes
their vectors part by part, `files` writes tables, GeoTIFFs and pictures from the parts."""
