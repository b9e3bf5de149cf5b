"""The HTML pages of a study."""
