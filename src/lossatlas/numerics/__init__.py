"""Numerical methods on matrices and functions; no networks in sight."""
