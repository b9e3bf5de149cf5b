"""Matrices of curvature as products, rows to rows."""
