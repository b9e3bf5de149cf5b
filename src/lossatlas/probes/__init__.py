"""One question about the landscape per file; each answers with a labelled dataset."""
