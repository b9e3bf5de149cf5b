"""The one exception that the command line turns into a line and exit status 2."""


class InputError(Exception):
    """What the user gave cannot be used: the message says what was wanted, what came and what to do."""
