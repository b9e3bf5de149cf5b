"""θ and what is made of it: layout, directions, subspaces, curves."""
