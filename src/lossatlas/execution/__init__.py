"""Doing work: jobs and their costs, processes, what is missing, what is stale, progress."""
