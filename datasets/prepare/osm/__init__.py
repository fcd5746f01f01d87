"""datasets/prepare/osm."""
