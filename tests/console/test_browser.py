"""The console in a real browser: plots are drawn, nothing is blocked, nothing is logged."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.api.world import STATION, World
from tests.console.browsing import Reader

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(params=["vi-VN", "en-GB"])
def reader(request: pytest.FixtureRequest, browser: Browser, url: str) -> Iterator[Reader]:
    """In both languages; whatever a test does, nothing may be blocked, fail or go elsewhere."""
    context = browser.new_context(locale=request.param)
    made = Reader(context, url)
    yield made
    context.close()
    assert made.complaints == []
    assert [target for target in made.requested if not target.startswith(url)] == []


def inked(page: Page, selector: str) -> int:
    """How many pixels of a canvas are drawn on."""
    found: int = page.locator(selector).evaluate(
        """canvas => {
            const pixels = canvas.getContext("2d")
                .getImageData(0, 0, canvas.width, canvas.height).data;
            let count = 0;
            for (let i = 3; i < pixels.length; i += 4) if (pixels[i] > 0) count += 1;
            return count;
        }"""
    )
    return found


def test_the_first_page_shows_the_stations_and_a_day(reader: Reader, utility: World) -> None:
    reader.log_in(utility.keys["read"])
    page = reader.page
    expect(page.locator("#overview table")).to_contain_text("Trạm Chiềng Ngần 12")
    expect(page.locator("[data-plot][data-state=drawn] canvas")).to_be_visible()
    assert inked(page, "[data-plot] canvas") > 1000
    vietnamese = page.locator("html").get_attribute("lang") == "vi"
    # Half a day of 660 Wh a half hour, but for the interval whose index came late.
    expect(page.locator("[data-sum=received]")).to_have_text(
        "15,8 kWh" if vietnamese else "15.8 kWh"
    )
    expect(page.locator("[data-sum=percent]")).to_have_text("9,09 %" if vietnamese else "9.09 %")
    expect(page.locator("[data-silent]")).to_be_hidden()


def test_pointing_at_the_plot_tells_the_interval(reader: Reader, utility: World) -> None:
    reader.log_in(utility.keys["read"], f"/stations/{STATION}?day=2026-01-09")
    page = reader.page
    expect(page.locator("[data-plot][data-state=drawn] canvas")).to_be_visible()
    page.locator(".u-over").first.hover()
    readout = page.locator(".readout")
    expect(readout).to_contain_text("kWh")
    text = readout.inner_text().replace(",", ".")
    assert "0.66 kWh" in text
    assert "0.60 kWh" in text
    assert "0.06 kWh" in text


def test_a_station_shows_balance_and_points(reader: Reader, utility: World) -> None:
    reader.log_in(utility.keys["read"], f"/stations/{STATION}")
    page = reader.page
    expect(page.locator("#points tbody tr")).to_have_count(4)
    expect(page.locator("#balance tbody tr")).to_have_count(10)
    expect(page.locator("[data-losses] canvas")).to_be_visible()
    assert inked(page, "[data-losses] canvas") > 1000
    page.locator("input[name=day]").fill("2026-01-09")
    page.locator("input[name=day]").blur()
    page.wait_for_url("**day=2026-01-09*")
    expect(page.locator("[data-plot][data-state=drawn] canvas")).to_be_visible()
    expect(page.locator("[data-sum=rows]")).to_have_text("48 / 48")


def test_gateways(reader: Reader, utility: World) -> None:
    reader.log_in(utility.keys["read"], "/gateways")
    expect(reader.page.locator("#gateways tbody tr")).to_have_count(1)
    expect(reader.page.locator("#gateways tbody .badge.good")).to_be_visible()


def test_a_day_without_readings_says_so(reader: Reader, utility: World) -> None:
    reader.log_in(utility.keys["read"], f"/stations/{STATION}?day=2025-06-01")
    expect(reader.page.locator("[data-plot] [data-when=empty]")).to_be_visible()
    expect(reader.page.locator("[data-plot] canvas")).to_have_count(0)


def test_the_language_is_switched_in_place(reader: Reader, utility: World) -> None:
    reader.log_in(utility.keys["read"], f"/stations/{STATION}?day=2026-01-09")
    page = reader.page
    for language, words in (("vi", "Điểm đo"), ("en", "Points")):
        page.locator(f".languages a[hreflang={language}]").click()
        expect(page.locator("html")).to_have_attribute("lang", language)
        expect(page.locator("#points-title")).to_have_text(words)
        assert page.url.endswith(f"/stations/{STATION}?day=2026-01-09")


def test_a_phone_scrolls_tables_not_the_page(browser: Browser, url: str, utility: World) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, locale="vi-VN")
    phone = Reader(context, url)
    phone.log_in(utility.keys["read"], f"/stations/{STATION}")
    expect(phone.page.locator("#points tbody tr")).to_have_count(4)
    expect(phone.page.locator("[data-plot][data-state=drawn] canvas")).to_be_visible()
    width = phone.page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390
    context.close()


def test_it_is_used_without_a_mouse(english: BrowserContext, url: str, utility: World) -> None:
    reader = Reader(english, url)
    reader.page.goto(url)
    expect(reader.page.locator("input[name=key]")).to_be_focused()
    reader.page.keyboard.type(utility.keys["read"])
    reader.page.keyboard.press("Enter")
    expect(reader.page.locator("#overview table")).to_be_visible()
    reader.page.keyboard.press("Tab")
    expect(reader.page.locator("a.skip")).to_be_focused()
    reader.page.locator(f"#station-{STATION}").focus()
    reader.page.keyboard.press("Enter")
    expect(reader.page.locator("h1")).to_have_text("Trạm Chiềng Ngần 12")


def test_empty_states(english: BrowserContext, empty_url: str, empty: World) -> None:
    reader = Reader(english, empty_url)
    reader.log_in(empty.keys["read"])
    expect(reader.page.locator("#overview .state")).to_contain_text("No stations yet.")
    expect(reader.page.locator("[data-plot]")).to_have_count(0)
    reader.page.goto(empty_url + "/gateways")
    expect(reader.page.locator("#gateways .state")).to_contain_text("No gateway has reported yet.")
    assert reader.complaints == []


def test_an_answer_that_fails_is_said_and_tried_again(
    english: BrowserContext, url: str, utility: World
) -> None:
    reader = Reader(english, url)
    page = reader.page
    page.clock.install()
    page.route("**/day.json*", lambda route: route.fulfill(status=503, body="{}"))
    page.route("**/console/overview*", lambda route: route.abort())
    reader.log_in(utility.keys["read"])
    expect(page.locator("[data-plot] [data-when=error]")).to_be_visible()
    expect(page.locator("#away")).to_be_visible()
    page.unroute_all()
    page.clock.fast_forward("01:01")
    expect(page.locator("[data-plot][data-state=drawn] canvas")).to_be_visible()
    expect(page.locator("#overview table")).to_be_visible()
    expect(page.locator("#away")).to_be_hidden()


def test_a_session_that_ended_leads_to_the_login(
    english: BrowserContext, url: str, utility: World
) -> None:
    reader = Reader(english, url)
    reader.page.clock.install()
    reader.log_in(utility.keys["read"])
    expect(reader.page.locator("#overview table")).to_be_visible()
    ways_to_login: list[str] = []
    reader.page.on(
        "request",
        lambda request: (
            ways_to_login.append(request.url) if request.is_navigation_request() else None
        ),
    )
    english.clear_cookies()
    reader.page.clock.fast_forward("01:01")
    expect(reader.page.locator("input[name=key]")).to_be_visible()
    assert ways_to_login == [f"{url}/login"]
