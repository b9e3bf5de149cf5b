"""How the loss rises near a point."""
