"""What the command line turns into one line and an exit status."""


class InputError(Exception):
    """What the user gave cannot be used: the message says what was wanted, what came and what to do."""


class WorkersDied(Exception):
    """A worker process was killed from outside."""


FINISHED, FAILED, UNUSABLE, INTERRUPTED = 0, 1, 2, 130  # exit statuses
