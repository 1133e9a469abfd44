"""Who gives a command is what the kernel says, not what the environment does."""

import pwd

import pytest

from collector.cli_common import actor


def test_a_variable_does_not_make_another_person(monkeypatch: pytest.MonkeyPatch) -> None:
    before = actor()
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "SUDO_USER"):
        monkeypatch.setenv(name, "somebody-else")
    assert actor() == before
    assert "somebody-else" not in before
    assert before.startswith("command:")


def test_an_account_without_a_name_is_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless(number: int) -> pwd.struct_passwd:
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", nameless)
    assert actor().removeprefix("command:").isdigit()
