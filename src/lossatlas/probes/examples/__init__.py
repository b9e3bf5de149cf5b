"""What single examples have a part in."""
