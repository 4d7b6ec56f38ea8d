"""What tests of resuming raise in the middle of a training."""


class Killed(BaseException):
    """Stands for the end of the process."""
