"""Tables of a study, and what follows from them: intervals, contrasts, correlations, findings."""
