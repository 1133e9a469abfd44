"""The words for what the system names in code: roles, reasons, problems.

The one place where codes become texts for people; it must not format numbers.
"""

from collector.console.locale import Speech
from collector.web.problems import Problem


def _(text: str) -> str:
    """Marks a text for the catalogue; it is translated when it is shown."""
    return text


_ROLES = {
    "head": _("head"),
    "household": _("household"),
    "business": _("business"),
    "wholesale_master": _("wholesale master"),
    "administrative": _("administrative"),
    "production": _("production"),
    "sub_meter": _("sub-meter"),
    "own_use": _("own use"),
}

_REASONS = {
    "timeout": _("no answer"),
    "exception": _("refused by the meter"),
    "bad_reply": _("wrong answer"),
    "line_down": _("line down"),
    "not_available": _("no value"),
    "window_closed": _("no time left"),
    "offline": _("offline"),
    "gateway_down": _("gateway down"),
    "overrun": _("overrun"),
    "overflow": _("outbox full"),
    "clock_jump": _("clock set"),
    "lost": _("lost on the way"),
    "epoch_gone": _("lost on the way"),
}

_PROBLEMS = {
    401: _("You are not logged in."),
    403: _("Your key does not allow this."),
    404: _("There is nothing here."),
    405: _("This cannot be done here."),
    422: _("This cannot be shown."),
    429: _("You ask too much at once. Wait a moment."),
    500: _("The collector failed."),
    503: _("The collector cannot answer now."),
}


def role_text(speech: Speech, role: str) -> str:
    """The name of a point's role; the code itself where there is no name."""
    return speech.gettext(_ROLES.get(role, role))


def reason_text(speech: Speech, reason: str) -> str:
    """Why something was not read; readers accept reasons that they do not know."""
    return speech.gettext(_REASONS.get(reason, reason))


def problem_text(speech: Speech, problem: Problem) -> str:
    """A problem's title for people."""
    return speech.gettext(_PROBLEMS.get(problem.status, problem.title))
