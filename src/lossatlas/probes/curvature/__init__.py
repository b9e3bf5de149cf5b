"""Spectra of the matrices of curvature at a point."""
