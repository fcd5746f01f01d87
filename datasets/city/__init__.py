"""The parts of the sample city: plan, objects, what OpenStreetMap knows of them, imagery, statistics."""
