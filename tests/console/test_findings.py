"""The queue of findings at a real browser: narrowed, walked through, decided one by one or all."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from collector.ledger.findings import Decision, FindingFilter
from collector.operations.audit import list_audit
from collector.operations.findings import show_finding
from collector.operations.vee import list_findings
from collector.vee.values import Finding, Severity
from tests.api.world import World
from tests.console.browsing import Reader
from tests.ledger.building import midnight

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(params=["vi-VN", "en-GB"])
def judge(
    request: pytest.FixtureRequest, browser: Browser, office_url: str, office: World
) -> Iterator[Reader]:
    """Who decides, in both languages; nothing may be blocked, fail or go elsewhere."""
    context = browser.new_context(locale=request.param)
    made = Reader(context, office_url)
    made.log_in(office.keys["judge"], "/findings")
    yield made
    context.close()
    assert made.complaints == []
    assert [target for target in made.requested if not target.startswith(office_url)] == []


def of_point(office: World, point: str) -> int:
    """The first finding of a point."""
    return list_findings(office.ledger, FindingFilter(point=point))[0].id


def decide(page: Page, decision: str, reason: str) -> None:
    page.locator(f"input[name=decision][value={decision}]").check()
    page.locator("textarea[name=reason]").fill(reason)
    page.locator("#decide").click()


def test_from_the_queue_to_a_decision(judge: Reader, office: World) -> None:
    page = judge.page
    vietnamese = page.locator("html").get_attribute("lang") == "vi"
    number = of_point(office, "T1/b")
    expect(page.locator("#findings tbody tr")).to_have_count(12)
    page.locator("input[name=point]").fill("T1/b")
    page.locator("select[name=rule]").select_option("V01")
    page.locator("form.filter button").click()
    expect(page.locator("#findings tbody tr")).to_have_count(2)
    page.locator(f"#finding-{number}").click()
    facts = page.locator("section[aria-labelledby=facts-title]")
    expect(facts).to_contain_text("Không có chỉ số chốt" if vietnamese else "No index for")
    expect(facts).to_contain_text("18/07/2026 00:00")
    decide(page, "accept", "nhà vắng" if vietnamese else "nobody home")
    expect(page.locator("#state.good")).to_have_text("đã chấp nhận" if vietnamese else "accepted")
    expect(page.locator("#history tbody")).to_contain_text("judge-key")
    expect(page.locator("#decide")).to_have_count(0)
    stored = show_finding(office.ledger, number, office.now).stored
    assert (stored.decision, stored.author) == (Decision.ACCEPT, "judge-key")
    page.goto(f"{judge.url}/findings?state=decided")
    expect(page.locator("#findings tbody tr")).to_have_count(1)


def test_an_estimate_and_an_edit_take_the_index_s_place(judge: Reader, office: World) -> None:
    page = judge.page
    number = of_point(office, "T1/b")
    page.goto(f"{judge.url}/findings/{number}")
    decide(page, "estimate", "the line was down")
    expect(page.locator("#state.good")).to_be_visible()
    (index,) = show_finding(office.ledger, number, office.now).indices
    assert index[1].value is not None
    other = number + 1
    page.goto(f"{judge.url}/findings/{other}")
    page.locator("input[name=value_kwh]").fill("1400,5")
    decide(page, "edit", "read from the photo")
    expect(page.locator("#state.good")).to_be_visible()
    found = show_finding(office.ledger, other, office.now).indices
    assert 1_400_500 in {one.value for _, one in found}
    vietnamese = page.locator("html").get_attribute("lang") == "vi"
    expect(page.locator("section[aria-labelledby=reads-title]")).to_contain_text(
        "1.400,500 kWh" if vietnamese else "1,400.500 kWh"
    )


def test_a_re_read_is_sent_and_the_finding_stays_open(judge: Reader, office: World) -> None:
    with office.ledger.begin() as uow:
        uow.findings.add([_finding("again", "T1/b", "MB")], office.now)
    number = list_findings(office.ledger, FindingFilter(rule="V06"))[0].id
    judge.page.goto(f"{judge.url}/findings/{number}")
    decide(judge.page, "re_read", "the line is up again")
    expect(judge.page.locator("#state.warn")).to_be_visible()
    (sent,) = office.app.state.context.sender.sent
    (one,) = show_finding(office.ledger, number, office.now).re_reads
    assert one.command in sent
    expect(judge.page.locator("#history .plain-list")).to_contain_text(one.command)


def _finding(key: str, point: str, meter: str) -> Finding:
    at = midnight("2026-07-10")
    return Finding("V06", Severity.BLOCK, point, meter, "1-0:1.8.0", key, at, at, {})


def test_all_of_a_filter_are_counted_before_they_are_decided(judge: Reader, office: World) -> None:
    page = judge.page
    page.goto(f"{judge.url}/findings?rule=V01")
    page.locator("#decide-all").click()
    page.locator("select[name=decision]").select_option("estimate")
    page.locator("textarea[name=reason]").fill("the line was down")
    page.locator("#count").click()
    expect(page.locator("#counted-title")).to_contain_text("6")
    expect(page.locator("#counted tbody tr")).to_have_count(6)
    # Counting has decided nothing.
    assert len(list_findings(office.ledger, FindingFilter())) == 12
    page.locator("#confirm").click()
    expect(page.locator("#done")).to_contain_text("6")
    assert len(list_findings(office.ledger, FindingFilter())) == 6
    (entry, *_) = list_audit(office.ledger, limit=1)
    assert (entry.action, entry.actor) == ("vee.estimate", "judge-key")
    # Loading the answer again sends the form again, and decides nothing again.
    page.reload()
    expect(page.locator("#done")).to_contain_text("6")
    assert list_audit(office.ledger, limit=1)[0] == entry


def test_another_number_by_then_decides_nothing(
    office: World, office_url: str, browser: Browser
) -> None:
    context = browser.new_context(locale="en-GB")
    reader = Reader(context, office_url)
    reader.log_in(office.keys["judge"], "/findings/decide?rule=V06")
    page = reader.page
    with office.ledger.begin() as uow:
        uow.findings.add([_finding("one", "T1/b", "MB")], office.now)
    page.locator("select[name=decision]").select_option("accept")
    page.locator("textarea[name=reason]").fill("seen")
    page.locator("#count").click()
    expect(page.locator("#confirm")).to_have_text("Decide 1 finding")
    with office.ledger.begin() as uow:
        uow.findings.add([_finding("two", "T1/a", "MA")], office.now)
    page.locator("#confirm").click()
    expect(page.locator("#fault")).to_contain_text("Count them again")
    assert len(list_findings(office.ledger, FindingFilter(rule="V06"))) == 2
    # What was typed is still there.
    expect(page.locator("textarea[name=reason]")).to_have_value("seen")
    context.close()


def test_what_cannot_be_is_said_and_what_was_typed_stays(
    office: World, office_url: str, browser: Browser
) -> None:
    context = browser.new_context(locale="vi-VN")
    reader = Reader(context, office_url)
    number = of_point(office, "T1/head")
    reader.log_in(office.keys["judge"], f"/findings/{number}")
    page = reader.page
    for value, said in (("abc", "is no index"), ("1.0005", "is no index")):
        page.locator("input[name=value_kwh]").fill(value)
        decide(page, "edit", "from the photo")
        expect(page.locator("#fault")).to_contain_text(said)
        expect(page.locator("textarea[name=reason]")).to_have_value("from the photo")
    page.locator("input[name=value_kwh]").fill("")
    decide(page, "estimate", "the line was down")
    expect(page.locator("#fault strong")).to_contain_text("Phát hiện vẫn mở")
    # The language is switched on a page that a form led to.
    page.locator(".languages a[hreflang=en]").click()
    expect(page.locator("html")).to_have_attribute("lang", "en")
    assert page.url == f"{office_url}/findings/{number}"
    assert len(list_findings(office.ledger, FindingFilter())) == 12
    context.close()


def test_the_queue_goes_on_page_by_page(judge: Reader, office: World) -> None:
    with office.ledger.begin() as uow:
        found = [_finding(f"{number:03}", "T1/b", "MB") for number in range(60)]
        uow.findings.add(found, office.now)
    page = judge.page
    page.goto(f"{judge.url}/findings?rule=V06")
    expect(page.locator("#findings tbody tr")).to_have_count(50)
    page.locator("#next-findings").click()
    expect(page.locator("#findings tbody tr")).to_have_count(10)
    expect(page.locator("#next-findings")).to_have_count(0)


def test_who_may_not_decide_is_told_so(office: World, office_url: str, browser: Browser) -> None:
    context = browser.new_context(locale="en-GB", viewport={"width": 390, "height": 844})
    reader = Reader(context, office_url)
    number = of_point(office, "T1/b")
    reader.log_in(office.keys["looker"], "/findings?rule=V01")
    page = reader.page
    expect(page.locator("#findings tbody tr")).to_have_count(12)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    expect(page.locator("#decide-all")).to_have_count(0)
    expect(page.locator(".page-head")).to_contain_text("vee:decide")
    page.goto(f"{office_url}/findings/{number}")
    expect(page.locator("#decide")).to_have_count(0)
    expect(page.locator("main")).to_contain_text("vee:decide")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.goto(f"{office_url}/findings/decide?rule=V01")
    expect(page.locator("#count")).to_have_count(0)
    page.goto(f"{office_url}/findings?station=T9")
    expect(page.locator("#findings .state")).to_contain_text("No finding matches.")
    assert reader.complaints == []
    context.close()


def test_a_finding_is_decided_without_a_mouse(
    office: World, office_url: str, browser: Browser
) -> None:
    context = browser.new_context(locale="en-GB")
    reader = Reader(context, office_url)
    number = of_point(office, "T1/b")
    reader.log_in(office.keys["judge"], "/findings")
    page = reader.page
    page.locator(f"#finding-{number}").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#decide")).to_be_visible()
    page.locator("input[name=decision]").first.focus()
    page.keyboard.press("Space")
    while not page.evaluate("document.activeElement.name === 'reason'"):
        page.keyboard.press("Tab")
    page.keyboard.type("nobody home")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#state.good")).to_have_text("accepted")
    context.close()
