"""What `tests/fuzz.py` tries: a module for each kind of input, whose `draw(rng, world)` makes a `Case`."""
