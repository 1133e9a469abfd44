"""The simulator's one expected failure: an input that it cannot work from.

Knows nothing of grids or meters; whoever finds the fault writes the sentence.
"""


class SimulatorError(Exception):
    """A file or setting that cannot be used: the text names it, `hint` says what to do."""

    def __init__(self, text: str, *, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint
