"""The tables of what is taken away fit the page, the product and the tests as they are now.

That each test fails is seen by `make soak TESTS=tests/soak/test_protections_soak.py`.
"""

import pytest

from tests.protections.taking_away import ROOT, all_entries, rows
from tests.protections.taking_away import Taken as TakenAway

TAKEN = all_entries()


def test_every_row_of_the_page_is_taken_away_once_at_least() -> None:
    assert set(rows()) - {taken.row for taken in TAKEN} == set()


def test_every_test_that_the_page_names_is_to_fail_by_something() -> None:
    named = {test for tests in rows().values() for test in tests}
    assert named - {test for taken in TAKEN for test in taken.fails} == set()


@pytest.mark.parametrize("taken", TAKEN, ids=str)
def test_what_is_replaced_is_there_once_and_is_no_test(taken: TakenAway) -> None:
    assert taken.fails
    for edit in taken.edits:
        assert not edit.file.startswith("tests/"), edit
        assert (ROOT / edit.file).read_text(encoding="utf-8").count(edit.old) == 1, edit
        assert edit.old != edit.new
