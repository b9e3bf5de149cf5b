"""Pictures of results: they draw what a probe returned and compute nothing."""
