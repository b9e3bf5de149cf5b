"""What results are made of, how they are kept, and how they reach other programs."""
