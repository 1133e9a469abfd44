"""What people read of rules and findings, in both languages."""

import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from string import Formatter

import pytest
from babel.messages.pofile import read_po

from collector.errors import InvalidRequest
from collector.operations.vee_files import load_limits, translation
from collector.vee.catalogue import RULES
from collector.vee.texts import (
    all_texts,
    check_next_text,
    found_text,
    method_title,
    methods_table,
    rules_table,
    severity_text,
    title,
)
from collector.vee.values import Severity
from contract.registers import IMPORT_ACTIVE
from tests.unit.collector.vee.building import fires, reads, subject


def test_every_text_is_translated_and_no_translation_is_stale() -> None:
    with files("collector.vee").joinpath("i18n", "vi.po").open("rb") as stream:
        catalog = read_po(stream, locale="vi")
    translated = {message.id for message in catalog if message.id and message.string}
    assert all_texts() - translated == set()
    assert translated - all_texts() == set()


def test_translations_name_the_same_facts() -> None:
    vietnamese = translation("vi")
    for rule in RULES:
        for said in rule.said.values():
            wanted = {name for _, name, _, _ in Formatter().parse(said.found) if name}
            found = re.findall(r"{(\w+)}", vietnamese(said.found))
            assert set(found) == wanted, rule.id
            assert "{" not in vietnamese(said.check_next)


def test_a_finding_in_both_languages() -> None:
    (found,) = fires("V03", subject(reads={IMPORT_ACTIVE: reads([5000, 10])}))
    assert found_text(found, translation("en")) == (
        "The index fell from 5000 (2026-09-30T17:00:00Z) to 10 (2026-10-01T17:00:00Z);"
        " roll-over at: none."
    )
    assert found_text(found, translation("vi")).startswith("Chỉ số giảm từ 5000 ")
    assert "tại chỗ" in check_next_text(found, translation("vi"))
    assert title("V03", translation("vi")) == "Sản lượng âm"
    assert severity_text(Severity.RECHECK, translation("vi")) == "cần phúc tra"
    assert method_title("E6", translation("vi")) == "Bình quân ba kỳ hóa đơn trước"


def test_what_another_version_stored_is_shown_as_it_is() -> None:
    (found,) = fires("V03", subject(reads={IMPORT_ACTIVE: reads([5000, 10])}))
    unknown = type(found)(
        **{name: getattr(found, name) for name in found.__slots__} | {"rule": "V99"}
    )
    assert "index_from_wh=5000" in found_text(unknown, translation("vi"))
    assert check_next_text(unknown, translation("vi")) == ""
    assert title("V99", translation("vi")) == "V99"
    bare = replace(found, facts={})
    assert found_text(bare, translation("en")).startswith("The index fell from ? (?)")


def test_a_language_that_there_is_not() -> None:
    with pytest.raises(InvalidRequest):
        translation("fr")


def test_the_page_has_the_tables_that_the_rules_make() -> None:
    page = (Path(__file__).parents[4] / "docs" / "vee.md").read_text(encoding="utf-8")
    assert rules_table(translation("vi")) in page, "print them with `songlo collector vee rules`"
    assert methods_table(translation("vi")) in page


def test_the_limits_shown_on_the_page_are_ones_that_are_taken(tmp_path: Path) -> None:
    page = (Path(__file__).parents[4] / "docs" / "vee.md").read_text(encoding="utf-8")
    (sample,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    path = tmp_path / "limits.yaml"
    path.write_text(sample, encoding="utf-8")
    assert load_limits(path).of(None, "eastron-sdm120").rating is not None
