"""The words for what the system names in code: roles, reasons, problems.

The one place where codes become texts for people; it must not format numbers.
"""

from collector.billing.gates import Cause, Reference
from collector.billing.run_values import RunState
from collector.console.locale import Speech
from collector.ledger.billing_runs import ActKind
from collector.ledger.findings import Decision, ManualKind
from collector.web.problems import Problem
from contract.registers import BY_OBIS


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
    409: _("This does not go with what is stored."),
    422: _("This cannot be shown."),
    429: _("You ask too much at once. Wait a moment."),
    500: _("The collector failed."),
    503: _("The collector cannot answer now."),
}

# What people can do about it, where the status alone says too little.
_CODES = {
    "form_not_ours": _("The page was open for too long. Load it again, then try again."),
    "count_changed": _("Another number of findings can be decided now. Count them again."),
    "not_decided": _("The finding stays open: it cannot be decided like this."),
    "commands_off": _("This collector sends no commands: meters cannot be read again from here."),
    "run_unfinished": _("Another run of these points is open. Finish that one first."),
    "run_exported": _("This run is closed and stays as it is. What changes is in the next run."),
    "no_version": _("This run has no version yet. Make one first."),
    "hash_changed": _("There is a newer version. Look at it, then approve what you have seen."),
    "own_work": _(
        "Another person must approve. You made a version of this run, accepted an exception, left "
        "out a point, put in an index, decided a finding, or changed the registry of its period."
    ),
    "exceptions_open": _("Exceptions are not decided yet. Accept them, or leave their points out."),
    "approval_fell": _(
        "What was approved has changed since. Another person must approve it again."
    ),
    "not_approved": _("The latest version is not approved yet. Another person must approve it."),
    "basis_changed": _("Another run was exported since. Make a version again."),
    "changed_meanwhile": _(
        "Something was changed meanwhile. Look at it, and make a version again."
    ),
    "not_exported": _("It is not handed over yet: there is no file."),
}

_DECISIONS = {
    Decision.ACCEPT: _("accepted"),
    Decision.ESTIMATE: _("estimated"),
    Decision.EDIT: _("edited"),
    Decision.RE_READ: _("to be read again"),
    Decision.GONE: _("not found any more"),
    Decision.REOPENED: _("found again"),
}

_DECISION_WORDS = {
    Decision.ACCEPT: _("Accept"),
    Decision.ESTIMATE: _("Estimate"),
    Decision.EDIT: _("Edit"),
    Decision.RE_READ: _("Read again"),
}

_MANUAL = {
    ManualKind.HAND: _("read by a person"),
    ManualKind.EDIT: _("edited"),
    ManualKind.ESTIMATE: _("estimated"),
}

_RUN_STATES = {
    RunState.DRAFT: _("draft"),
    RunState.APPROVED: _("approved"),
    RunState.EXPORTED: _("exported"),
}

_CAUSES = {
    Cause.NO_CONSUMPTION: _("no consumption can be told"),
    Cause.HELD: _("left out"),
    Cause.ESTIMATED: _("the closing index is an estimate"),
    Cause.RETURNED: _("less is billed: the last closing index was too high"),
    Cause.CORRECTED: _("corrects an earlier period"),
    Cause.HIGH: _("high"),
    Cause.VERY_HIGH: _("very high"),
    Cause.EXTREME: _("extremely high"),
    Cause.FROM_NOTHING: _("from next to nothing to a lot"),
    Cause.FIRST: _("billed for the first time, from an opening index that nothing confirms"),
    Cause.STOPPED: _("nothing was used any more"),
    Cause.FINDING: _("a finding is not decided"),
    Cause.ZERO_MARK: _("the reader's mark says nothing was used, the meter counted"),
    Cause.PUT_IN: _("an edit or an estimate was put in"),
    Cause.NOT_VALIDATED: _("days of it were not validated as they are now"),
    Cause.NO_BILL: _("these days are no period of its book: it has no bill"),
}

_REFERENCES = {
    Reference.PERIOD: _("period before"),
    Reference.YEAR: _("a year before"),
    Reference.INSTALLATION: _("since its installation"),
}

_ACTS = {
    ActKind.ACCEPT: _("exceptions of a cause accepted"),
    ActKind.EXCLUDE: _("point left out"),
    ActKind.INCLUDE: _("point taken in again"),
    ActKind.DECIDE: _("exceptions accepted"),
    ActKind.APPROVE: _("approved"),
}


def role_text(speech: Speech, role: str) -> str:
    """The name of a point's role; the code itself where there is no name."""
    return speech.gettext(_ROLES.get(role, role))


def reason_text(speech: Speech, reason: str) -> str:
    """Why something was not read; readers accept reasons that they do not know."""
    return speech.gettext(_REASONS.get(reason, reason))


def decision_text(speech: Speech, decision: Decision) -> str:
    """How a finding stands after a decision."""
    return speech.gettext(_DECISIONS[decision])


def decision_word(speech: Speech, decision: str) -> str:
    """What a person may choose, as it stands on a button."""
    return speech.gettext(_DECISION_WORDS[Decision(decision)])


def manual_text(speech: Speech, kind: ManualKind) -> str:
    """How an index came that no gateway read."""
    return speech.gettext(_MANUAL[kind])


def run_state_text(speech: Speech, state: str) -> str:
    """How far a billing run, or a set of its bills, is."""
    return speech.gettext(_RUN_STATES[RunState(state)])


def cause_text(speech: Speech, cause: Cause) -> str:
    """Why a line of a run is an exception; the code itself where there is no text."""
    return speech.gettext(_CAUSES.get(cause, cause.value))


def reference_text(speech: Speech, reference: Reference) -> str:
    """What a consumption was compared with."""
    return speech.gettext(_REFERENCES[reference])


def act_text(speech: Speech, act: ActKind) -> str:
    """What a person did with a run."""
    return speech.gettext(_ACTS[act])


def unit_text(register: str) -> str:
    """The unit in which an index of this register is shown: that of the catalogue, times 1,000."""
    return f"k{BY_OBIS[register].unit.value}" if register in BY_OBIS else ""


def problem_text(speech: Speech, problem: Problem) -> str:
    """A problem's title for people."""
    title = _CODES.get(problem.code) or _PROBLEMS.get(problem.status, problem.title)
    return speech.gettext(title)
