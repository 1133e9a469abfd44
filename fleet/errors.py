"""What the authority refuses, each with a stable code, a sentence of facts and what to do next."""


class FleetError(Exception):
    """Nothing was signed or changed, for the reason in the text."""

    def __init__(self, code: str, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.hint = hint


class DamagedFolder(FleetError):
    """The authority's folder is not as this program left it; a person must look."""

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__("damaged", text, hint)
