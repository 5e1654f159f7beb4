"""The one error of the command line: a sentence for a person, and an exit status."""


class Problem(Exception):  # noqa: N818 - it is told to a person, not handled
    """What is wrong, where, and what to do, in one sentence. `status` is the exit status: 1 failed, 2 asked wrongly."""

    def __init__(self, sentence: str, status: int = 1) -> None:
        super().__init__(sentence)
        self.status = status
