"""A document of paragraphs, tables and figures, and how it is written as Markdown and as pages of HTML."""
