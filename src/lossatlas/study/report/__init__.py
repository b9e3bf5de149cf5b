"""The report of a study: one document, written as Markdown, HTML and PDF."""
