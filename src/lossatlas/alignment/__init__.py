"""Maps of hidden units that leave the function as it is."""
