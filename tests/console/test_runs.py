"""Billing runs at a real browser: opened, made, accepted, approved by another person, exported."""

import csv
import hashlib
import io
import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from collector.billing.run_values import RunState
from collector.operations.audit import list_audit
from collector.operations.billing_runs import Acting, RunView, list_runs
from collector.operations.billing_settings import default_rules
from collector.operations.bills import approve_bills, close_bills, make_bills
from tests.api.world import ZONE, World
from tests.console.browsing import Reader

pytestmark = pytest.mark.timeout(120)


class People:
    """Several people, each at a browser of their own, in one language."""

    def __init__(self, browser: Browser, office: World, url: str, locale: str) -> None:
        self._browser, self._office, self.url, self._locale = browser, office, url, locale
        self.readers: list[Reader] = []

    @property
    def vietnamese(self) -> bool:
        return self._locale == "vi-VN"

    def at(self, key: str, path: str, width: int = 1280) -> Page:
        context = self._browser.new_context(
            locale=self._locale, viewport={"width": width, "height": 900}
        )
        reader = Reader(context, self.url)
        reader.log_in(self._office.keys[key], path)
        self.readers.append(reader)
        return reader.page


@pytest.fixture(params=["vi-VN", "en-GB"])
def people(
    request: pytest.FixtureRequest, browser: Browser, office: World, office_url: str
) -> Iterator[People]:
    made = People(browser, office, office_url, request.param)
    yield made
    for reader in made.readers:
        reader.page.context.close()
        # A refusal is an answer of its own; nothing else may go wrong.
        assert [one for one in reader.complaints if "409 (Conflict)" not in one] == []


def newest(office: World) -> RunView:
    return list_runs(office.ledger, 1)[0]


def open_july(page: Page) -> None:
    """Open the run of July of book A, as its reading days say."""
    page.locator("#new-run").click()
    page.locator("select[name=book]").select_option("A")
    page.locator("input[name=month]").fill("2026-07-15")
    page.locator("form[action='/runs/new'] button").click()
    expect(page.locator("#open-1")).to_contain_text("20/06/2026 – 20/07/2026")
    page.locator("#open-1").click()
    expect(page.locator("h1")).to_have_text("20/06/2026 – 20/07/2026")


def make(page: Page, reason: str) -> None:
    page.locator("form[action$='/versions'] input[name=reason]").fill(reason)
    page.locator("#make").click()


def decide(page: Page, verdict: str, reason: str, **fields: str) -> None:
    form = page.locator("form[action$='/decisions']")
    for name, value in fields.items():
        form.locator(f"input[name={name}]").fill(value)
    form.locator(f"input[value={verdict}]").check()
    form.locator("input[name=reason]").fill(reason)
    page.locator("#decide-exceptions").click()


def accept_all_three(page: Page) -> None:
    """One by its point, one by its amount, and what is left."""
    decide(page, "accept", "a new kiln", point="T1/a1")
    expect(page.locator("#decided")).to_contain_text("1")
    decide(page, "accept", "below 1,500", billed_max_kwh="1500")
    expect(page.locator("#decided")).to_contain_text("1")
    expect(page.locator("#exceptions tbody .badge.bad")).to_have_count(1)
    decide(page, "accept", "seen by the foreman")
    expect(page.locator("#exceptions tbody .badge.good")).to_have_count(3)


def taken(page: Page, name: str) -> bytes:
    """The file behind a link of the run."""
    with page.expect_download() as waiting:
        page.locator("#files a", has_text=name).click()
    return waiting.value.path().read_bytes()


def close(page: Page, office: World) -> None:
    """Export the run. The browser itself asks for the tick: nobody closes a run by a slip."""
    page.locator("#export").click()
    assert newest(office).state is RunState.APPROVED
    page.locator("input[name=sure]").check()
    page.locator("#export").click()


def test_a_run_from_opening_to_the_files(people: People, office: World) -> None:
    biller = people.at("biller", "/runs")
    expect(biller.locator("#runs tbody tr")).to_have_count(1)
    open_july(biller)
    expect(biller.locator("#exceptions")).to_have_count(0)
    make(biller, "the reading day is over")
    changes = biller.locator("section[aria-labelledby=changes-title] tbody")
    expect(changes.locator("tr")).to_have_count(3)
    expect(changes).to_contain_text("3.000,00" if people.vietnamese else "3,000.00")
    biller.locator("#to-run").click()
    expect(biller.locator("#exceptions tbody .badge.bad")).to_have_count(6)
    expect(biller.locator("#exceptions")).to_contain_text(
        "chưa được kiểm tra" if people.vietnamese else "were not validated"
    )
    biller.locator("#validate").click()
    expect(biller.locator("#found")).to_be_visible()
    expect(biller.locator("#exceptions tbody .badge.bad")).to_have_count(3)
    version = newest(office).versions[-1]
    expect(biller.locator("#hash")).to_have_text(version.sha256)
    expect(biller.locator("#approve")).to_have_count(0)

    # The chief looks at the same hash, and is refused while nobody answers for the exceptions.
    chief = people.at("chief", f"/runs/{version.run}")
    chief.locator("#approve").click()
    expect(chief.locator("#fault strong")).to_contain_text(
        "ngoại lệ chưa quyết định" if people.vietnamese else "Exceptions are not decided"
    )
    assert newest(office).state is RunState.DRAFT

    accept_all_three(biller)
    chief.goto(f"{people.url}/runs/{version.run}")
    expect(chief.locator("#hash")).to_have_text(version.sha256)
    chief.locator("#approve").click()
    expect(chief.locator("#state")).to_have_text("đã duyệt" if people.vietnamese else "approved")
    expect(chief.locator("#export")).to_have_count(0)
    biller.reload()
    close(biller, office)
    expect(biller.locator("#state")).to_have_text("đã xuất" if people.vietnamese else "exported")
    expect(biller.locator("#make")).to_have_count(0)
    export = newest(office).export
    assert export is not None
    assert (export.sha256, export.exported_by) == (version.sha256, "biller-key")

    chief.reload()
    lines = taken(chief, "lines.csv")
    assert len(list(csv.DictReader(io.StringIO(lines.decode())))) == 3
    (entry, *_) = list_audit(office.ledger, limit=1)
    assert entry.detail["sha256"] == hashlib.sha256(lines).hexdigest()
    assert entry.actor == "chief-key"


def test_who_made_it_is_told_that_another_person_approves(people: People, office: World) -> None:
    page = people.at("both", "/runs")
    open_july(page)
    make(page, "the reading day is over")
    page.locator("#to-run").click()
    decide(page, "accept", "seen")
    page.locator("#approve").click()
    expect(page.locator("#fault strong")).to_contain_text(
        "Phải do người khác duyệt" if people.vietnamese else "Another person must approve"
    )
    assert newest(office).state is RunState.DRAFT


def test_a_newer_version_is_not_approved_unseen(people: People, office: World) -> None:
    biller = people.at("biller", "/runs")
    open_july(biller)
    make(biller, "the reading day is over")
    biller.locator("#to-run").click()
    decide(biller, "hold", "disputed", point="T1/b")
    expect(biller.locator("section[aria-labelledby=held-title]")).to_contain_text("T1/b")
    chief = people.at("chief", f"/runs/{newest(office).head.run}")
    make(biller, "T1/b is disputed")
    expect(biller.locator("h1")).to_contain_text("2")
    expect(biller.locator("tbody")).to_contain_text("T1/b")
    chief.locator("#approve").click()
    expect(chief.locator("#fault strong")).to_contain_text(
        "phiên bản mới hơn" if people.vietnamese else "newer version"
    )
    expect(chief.locator("#hash")).to_have_text(newest(office).versions[-1].sha256)
    biller.locator("#to-run").click()
    make(biller, "again")
    expect(biller.locator("main [role=status]").first).to_contain_text(
        "Không có gì thay đổi" if people.vietnamese else "Nothing has changed"
    )
    release = biller.locator("form[action$='/release']")
    release.locator("input[name=reason]").fill("it is right")
    release.locator("button").click()
    expect(biller.locator("section[aria-labelledby=held-title]")).to_have_count(0)
    assert newest(office).excluded == []


def test_a_second_run_of_the_same_points_is_refused(people: People, office: World) -> None:
    page = people.at("biller", "/runs")
    open_july(page)
    page.goto(f"{people.url}/runs/new")
    page.locator("input[name=from_day]").fill("2026-06-20")
    page.locator("input[name=to_day]").fill("2026-07-20")
    page.locator("#open-days").click()
    expect(page.locator("#fault strong")).to_contain_text(
        "kỳ chốt khác chưa xong" if people.vietnamese else "Another run of these points is open"
    )
    expect(page.locator("input[name=from_day]")).to_have_value("2026-06-20")
    assert len(list_runs(office.ledger)) == 2


def test_bills_of_a_run_are_shown_with_their_files(people: People, office: World) -> None:
    june = newest(office)
    rules = default_rules(ZONE)
    clerk, other = Acting("someone", office.now, "June"), Acting("other", office.now, "June")
    bills = make_bills(office.ledger, june.head.run, rules.rated, clerk).head
    approve_bills(office.ledger, bills.bill_set, bills.sha256, rules.rated, other)
    close_bills(office.ledger, bills.bill_set, clerk)
    page = people.at("chief", f"/runs/{june.head.run}")
    sets = page.locator("section[aria-labelledby=sets-title]")
    total = f"{bills.total_vnd:,}"
    expect(sets).to_contain_text(total.replace(",", ".") if people.vietnamese else total)
    with page.expect_download() as waiting:
        sets.locator("a", has_text="bills.csv").click()
    assert len(waiting.value.path().read_text().splitlines()) == 1 + bills.bill_count


def test_who_may_only_look_sees_no_actions(people: People, office: World) -> None:
    biller = people.at("biller", "/runs")
    open_july(biller)
    make(biller, "the reading day is over")
    biller.locator("#to-run").click()
    expect(biller.locator("#make")).to_have_count(1)
    expect(biller.locator("#approve")).to_have_count(0)
    run = newest(office).head.run
    page = people.at("looker", "/runs", width=390)
    expect(page.locator("#runs tbody tr")).to_have_count(2)
    expect(page.locator("#new-run")).to_have_count(0)
    expect(page.locator(".page-head")).to_contain_text("snapshot:create")
    page.goto(f"{people.url}/runs/{run}")
    expect(page.locator("#exceptions tbody tr")).to_have_count(6)
    for action in ("#make", "#validate", "#approve", "#export", "#decide-exceptions", "#files"):
        expect(page.locator(action)).to_have_count(0)
    expect(page.locator("main")).to_contain_text("snapshot:approve")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.goto(f"{people.url}/runs/new")
    expect(page.locator("#open-days")).to_have_count(0)


def test_no_runs_yet(browser: Browser, empty_url: str, empty: World) -> None:
    context = browser.new_context(locale="en-GB")
    reader = Reader(context, empty_url)
    reader.log_in(empty.keys["snapshot"], "/runs")
    expect(reader.page.locator("#runs .state")).to_contain_text("No billing run yet.")
    reader.page.goto(empty_url + "/runs/new")
    expect(reader.page.locator(".state")).to_contain_text("There are no reading books.")
    reader.page.goto(empty_url + "/findings")
    expect(reader.page.locator("#findings .state")).to_contain_text("Nothing waits to be decided.")
    assert reader.complaints == []
    context.close()


FORMS = [
    ("/runs", {"from_day": "2026-06-20", "to_day": "2026-07-20"}, "biller"),
    ("/runs/{run}/versions", {"reason": "x"}, "biller"),
    ("/runs/{run}/decisions", {"reason": "x", "verdict": "accept"}, "biller"),
    ("/runs/{run}/release", {"reason": "x", "point": "T1/a"}, "biller"),
    ("/runs/{run}/approval", {"reason": "x", "sha256": "0" * 64}, "chief"),
    ("/runs/{run}/export", {"sure": "yes"}, "biller"),
    ("/findings/1/decision", {"reason": "x", "decision": "accept"}, "judge"),
    ("/findings/decide", {"reason": "x", "decision": "accept", "rule": "V01"}, "judge"),
]


def logged_in(url: str, key: str) -> tuple[httpx.Client, str]:
    """A browser without scripts, and the token of its forms."""
    client = httpx.Client(base_url=url, headers={"Accept-Language": "en"}, timeout=30)
    found = re.search(r'name="form_token" value="([^"]+)"', client.get("/login").text)
    assert found is not None
    client.post("/login", data={"key": key, "form_token": found[1], "next": "/"})
    return client, found[1]


def test_a_form_needs_its_token_and_its_scope(office: World, office_url: str) -> None:
    run = newest(office).head.run
    before = list_audit(office.ledger, limit=1)[0].sequence
    for path, fields, key in FORMS:
        target = path.format(run=run)
        client, token = logged_in(office_url, office.keys[key])
        for forged in ({}, {"form_token": "forged"}):
            answer = client.post(target, data=fields | forged)
            assert answer.status_code == 403, target
            assert "Load it again" in answer.text
        client.close()
        client, token = logged_in(office_url, office.keys["looker"])
        answer = client.post(target, data=fields | {"form_token": token})
        assert answer.status_code == 403, target
        assert "Your key does not allow this." in answer.text
        client.close()
    assert list_audit(office.ledger, limit=1)[0].sequence == before


def test_a_form_after_the_session_leads_back_to_its_page(office: World, office_url: str) -> None:
    page = f"/runs/{newest(office).head.run}"
    with httpx.Client(base_url=office_url) as client:
        answer = client.post(
            f"{page}/versions",
            data={"reason": "x"},
            headers={"Referer": f"{office_url}{page}?undecided=true"},
        )
        assert answer.status_code == 303
        assert answer.headers["Location"] == f"/login?next={page}%3Fundecided%3Dtrue"
        answer = client.post(f"{page}/versions", headers={"Referer": "https://evil.example//x"})
        assert answer.headers["Location"] == "/login?next=/"


def test_files_need_their_scope_and_their_step(office: World, office_url: str) -> None:
    run = newest(office).head.run
    client, _ = logged_in(office_url, office.keys["biller"])
    assert client.get(f"/runs/{run}/files/lines.csv").status_code == 403
    client.close()
    client, _ = logged_in(office_url, office.keys["chief"])
    for name, start in (
        ("lines.csv", b"point"), ("lines.json", b"{"), ("lines.xlsx", b"PK"),
        ("statement.pdf", b"%PDF"), ("cmis.xml", b"<?xml"),
    ):  # fmt: skip
        answer = client.get(f"/runs/{run}/files/{name}")
        assert answer.status_code == 200, name
        assert answer.content.lstrip(b"\xef\xbb\xbf").startswith(start), name
    assert client.get(f"/runs/{run}/files/lines.exe").status_code == 404
    assert client.get("/bills/none/files/bills.csv").status_code == 404
    assert client.get("/bills/none/files/bills.exe").status_code == 404
    client.close()
