"""A report about one model of the user's own: what to measure, measuring it, and the pages about it."""
