"""The study built on the library: a matrix of networks, trained, probed, tabulated and reported."""
