"""A module, its data and a criterion as a function of θ."""
