"""What the command line turns into one line and an exit status."""


class InputError(Exception):
    """What the user gave cannot be used: the message says what was wanted, what came and what to do."""


class SettingError(InputError, ValueError):
    """A setting that cannot be used: a ValueError too, since that is what checks of whole configurations gather.

    Args:
        setting: its name.
        problem: what it is and what was wanted, such as "is 4: wanted an odd number".
    """

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(setting, problem)
        self.setting, self.problem = setting, problem

    def __str__(self) -> str:
        return f"{self.setting} {self.problem}"


class WorkersDied(Exception):
    """A worker process was killed from outside."""


FINISHED, FAILED, UNUSABLE, INTERRUPTED = 0, 1, 2, 130  # exit statuses
