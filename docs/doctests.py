"""For the reference: doctests in docstrings become code blocks, as the Markdown of the pages wants them."""

import re

import griffe

DOCTEST = re.compile(r"^>>> .*(?:\n.+)*", re.M)  # to the next empty line


class FencedDoctests(griffe.Extension):
    """Puts fences around every doctest that stands in a docstring's text."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: object) -> None:
        """Rewrite one docstring."""
        if obj.docstring:
            obj.docstring.value = DOCTEST.sub(r"```pycon\n\g<0>\n```", obj.docstring.value)
