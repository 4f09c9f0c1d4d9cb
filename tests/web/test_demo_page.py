"""The demo in a headless Chromium: load, chat, sliders, warnings, making, cancelling, errors, a phone, the dark."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio")
playwright = pytest.importorskip("playwright.sync_api")

from pages import served, tiny_desk  # noqa: E402

from steersman.files import save_direction  # noqa: E402
from steersman.web.desk import Desk  # noqa: E402
from steersman.web.making import EFFORTS, Effort  # noqa: E402
from tiny import direction  # noqa: E402

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.web,
    # Of Gradio's own calls of pandas, which would be errors in the middle of its server.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; make test-web installs it"),
]

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
STEERED = "section.side.steered .text"
PLAIN = "section.side.plain .text"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    root = tmp_path_factory.mktemp("demo")
    (root / "runs" / "first").mkdir(parents=True)
    (root / "runs" / "first" / "report.html").write_text("<!doctype html><h1>What was found</h1>")
    before = EFFORTS["quick"]
    EFFORTS["quick"] = Effort(8, (0.4, 0.6), 10, 2)
    try:
        with tiny_desk(runs=root / "runs", folder=root / "saved") as found:
            yield found
    finally:
        EFFORTS["quick"] = before


@pytest.fixture(scope="module")
def address(desk: Desk) -> Iterator[str]:
    with served(desk) as found:
        yield found


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def opened(chromium: Any, address: str, **how: Any) -> Any:
    page = chromium.new_context(**({"viewport": {"width": 1280, "height": 860}} | how)).new_page()
    page.set_default_timeout(30_000)
    page.goto(address)
    page.wait_for_selector("#message textarea")
    return page


@pytest.fixture
def page(chromium: Any, address: str) -> Iterator[Any]:
    found = opened(chromium, address)
    yield found
    found.context.close()


def ask(page: Any, text: str = "Hi") -> None:
    before = page.locator("article.turn").count()
    page.fill("#message textarea", text)
    page.press("#message textarea", "Enter")
    page.wait_for_function(f"document.querySelectorAll('article.turn').length > {before}")
    page.wait_for_selector("#send:visible")
    page.wait_for_function("!document.querySelector('.caret')")


def slide(page: Any, name: str, value: float) -> None:
    box = page.get_by_label(f"number input for {name}")
    box.fill(str(value))
    box.press("Tab")


def test_the_page_is_there_soon_and_fetches_nothing_from_elsewhere(chromium: Any, address: str) -> None:
    context = chromium.new_context()
    page = context.new_page()
    asked: list[str] = []
    wrong: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(address)
    page.wait_for_selector("#message textarea")
    # The first visit also waits for Chromium's own start, and any one for whatever else the machine does.
    assert min(_visited(page, address) for _ in range(3)) < 3
    page.wait_for_selector(".slot >> nth=1")
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    assert wrong == []
    assert page.locator(".slot:visible").count() == 2
    context.close()


def test_both_answers_stand_beside_each_other_coloured_and_measured(page: Any) -> None:
    ask(page)
    assert page.inner_text(PLAIN).strip()
    assert page.inner_text(PLAIN) != page.inner_text(STEERED)
    assert page.locator(f"{STEERED} .t").count() > 3
    assert page.locator(".meter").count() == 2
    assert "nats a token" in page.inner_text(".side.steered footer")
    assert page.input_value("#message textarea") == ""
    ask(page, "And then?")
    assert page.locator("article.turn").count() == 2
    left, right = (page.locator(place).first.bounding_box() for place in (PLAIN, STEERED))
    assert left["x"] + left["width"] <= right["x"]
    assert abs(left["y"] - right["y"]) < 2


def test_a_slider_changes_the_answer_and_at_zero_both_are_one(page: Any) -> None:
    slide(page, "warm", 0)
    ask(page)
    assert page.inner_text(PLAIN) == page.inner_text(STEERED)
    page.click("#clear")
    slide(page, "warm", 1.5)
    ask(page)
    strong = page.inner_text(STEERED)
    assert strong != page.inner_text(PLAIN)
    page.click("#clear")
    slide(page, "warm", 1.5)
    slide(page, "long", 0.4)
    ask(page)
    assert "warm +1.50, long +0.40" in page.inner_text(".side.steered h3")
    assert page.inner_text(STEERED) != strong


def test_beyond_the_range_a_warning_stands(page: Any) -> None:
    page.get_by_text("beyond what is recommended").click()
    page.wait_for_function("document.querySelector('.slot input[type=range]').max == '3.75'")
    slide(page, "warm", 2)
    page.wait_for_selector("#warnings .warn:has-text('warm at +2.00 is beyond +1.50')")
    slide(page, "warm", 1)
    page.wait_for_selector("#warnings .warn", state="detached")


def test_layer_span_and_gate_are_under_more_and_the_gate_is_shown(page: Any) -> None:
    page.get_by_text("More: layer").click()
    page.get_by_label("Layer it acts behind").click()
    page.get_by_role("option", name="3 (moved there)").click()
    page.get_by_text("Gate: act only").click()
    page.wait_for_function("document.querySelector('.slot input[type=range]').max == '0.5'")
    slide(page, "warm", 0.4)
    ask(page)
    assert "gate" in page.inner_text(".side.steered footer")


def test_words_can_be_coloured_by_another_direction_or_none(page: Any) -> None:
    ask(page)
    before = page.inner_html(STEERED)
    page.get_by_label("Colour words by").click()
    page.get_by_role("option", name="long").click()
    page.wait_for_selector("#legend:has-text('more long')")
    page.wait_for_function("before => document.querySelector('.steered .text').innerHTML != before", arg=before)
    page.get_by_label("Colour words by").click()
    page.get_by_role("option", name="nothing").click()
    page.wait_for_selector("#legend:has-text('not coloured')")
    page.wait_for_function("!document.querySelector('[title*=projection]')")


def test_an_answer_is_stopped_and_the_next_one_is_written(page: Any) -> None:
    page.get_by_text("More: layer").click()
    length = page.get_by_label("number input for Tokens of an answer at most")
    length.fill("200")
    length.press("Tab")
    page.fill("#message textarea", "Hi")
    page.press("#message textarea", "Enter")
    page.wait_for_selector(f"{STEERED} .t")
    page.click("#stop")
    page.wait_for_selector("#send:visible")
    assert "stopped" in page.inner_text("article.turn")
    length.fill("8")
    length.press("Tab")
    ask(page, "Again")
    assert "stopped" not in page.locator("article.turn").last.inner_text()


def test_a_direction_is_made_and_chatted_with(page: Any, desk: Desk) -> None:
    page.get_by_role("tab", name="Make a direction").click()
    page.get_by_label("What it should bring").fill("cheerful")
    page.get_by_label("Its opposite").fill("gloomy")
    page.press("#opposite input, #opposite textarea", "Enter")
    page.wait_for_selector("[role=progressbar]")
    page.wait_for_selector(".found", timeout=90_000)
    assert page.locator(".figures svg").count() >= 1
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "cheerful.safetensors"
    page.click("#save")
    page.wait_for_selector("#make-notice .good")
    assert desk.folder is not None
    assert (desk.folder / "cheerful.safetensors").is_file()
    page.click("#use")
    page.get_by_label("number input for cheerful").wait_for()
    slide(page, "cheerful", 0.4)
    ask(page)
    assert page.inner_text(".side.steered h3") == "steered: cheerful +0.40"


def test_making_is_cancelled_in_the_middle(page: Any) -> None:
    EFFORTS["quick"] = Effort(192, None, 25, 16)
    try:
        page.get_by_role("tab", name="Make a direction").click()
        page.get_by_label("What it should bring").fill("formal")
        page.get_by_label("Its opposite").fill("casual")
        page.click("#make")
        page.wait_for_selector("[role=progressbar]")
        page.click("#quit")
        begun = time.monotonic()
        page.wait_for_selector("text=was stopped")
        assert time.monotonic() - begun < 5
        page.wait_for_selector("#make:visible")
    finally:
        EFFORTS["quick"] = Effort(8, (0.4, 0.6), 10, 2)


def test_errors_are_sentences_on_the_page(page: Any, tmp_path: Path) -> None:
    page.press("#message textarea", "Enter")
    page.wait_for_selector("#notice [role=alert]:has-text('Type a few words')")
    save_direction(direction(5, [2], width=16), tmp_path / "wide.safetensors")
    page.get_by_text("Load a direction").click()
    page.set_input_files("#panel input[type=file]", str(tmp_path / "wide.safetensors"))
    page.wait_for_selector("#notice [role=alert]:has-text('width')")
    save_direction(direction(5, [2]), tmp_path / "mine.safetensors")
    page.set_input_files("#panel input[type=file]", str(tmp_path / "mine.safetensors"))
    page.wait_for_selector("#notice .good:has-text('mine is on the page')")
    page.get_by_role("tab", name="Make a direction").click()
    page.click("#make")
    page.wait_for_selector("#make-notice [role=alert]:has-text('a concept is missing')")
    assert page.locator(".toast-body").count() == 0
    assert "Traceback" not in page.content()


def test_a_finished_report_is_read_and_nothing_beside_it(page: Any, address: str) -> None:
    page.get_by_role("tab", name="Reports").click()
    page.get_by_label("Report", exact=True).click()
    page.get_by_role("option", name="first/report.html").click()
    frame = page.frame_locator("#report-view iframe")
    assert frame.locator("h1").inner_text() == "What was found"
    for name in ("../report.html", "..%2f..%2fetc%2fpasswd", "first/config.yaml"):
        assert page.request.get(f"{address}/reports/{name}").status == 404


def test_on_a_phone_nothing_is_cut_off(chromium: Any, address: str) -> None:
    page = opened(chromium, address, **PHONE)
    ask(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    left, right = (page.locator(place).first.bounding_box() for place in (PLAIN, STEERED))
    assert right["y"] > left["y"]
    assert left["width"] > 270
    for tab in ("Make a direction", "Reports", "Chat"):
        page.get_by_role("tab", name=tab).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.context.close()


def test_light_and_dark_can_both_be_read(chromium: Any, address: str) -> None:
    for scheme in ("light", "dark"):
        page = opened(chromium, address, color_scheme=scheme)
        ask(page)
        ink, paper = page.evaluate(
            "['.side.steered .text', '#transcript'].map((place, at) => "
            "getComputedStyle(document.querySelector(place))[at ? 'backgroundColor' : 'color'])"
        )
        assert _contrast(ink, paper) > 7
        page.click("#theme")
        assert page.evaluate("document.body.classList.contains('dark')") == (scheme == "light")
        page.context.close()


def test_the_keyboard_is_enough(page: Any) -> None:
    page.focus("#message textarea")
    page.keyboard.type("Hi")
    page.keyboard.press("Enter")
    page.wait_for_selector("article.turn")
    page.wait_for_selector("#send:visible")
    slider = page.get_by_label("range slider for warm")
    slider.focus()
    before = float(slider.input_value())
    page.keyboard.press("ArrowLeft")
    assert float(slider.input_value()) < before
    page.keyboard.press("Tab")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, input, textarea')].filter(e => e.offsetParent && !(e.innerText || "
        "e.ariaLabel || e.placeholder || e.labels?.length || e.title)).map(e => e.outerHTML.slice(0, 200))"
    )
    assert unnamed == []


def test_a_base_model_goes_on_with_a_text(chromium: Any) -> None:
    with tiny_desk(chat=False) as base, served(base) as place:
        page = opened(chromium, place)
        ask(page, "Once upon")
        assert page.inner_text(STEERED).strip()
        assert "base model" in page.inner_text("#top")
        page.context.close()


def _visited(page: Any, address: str) -> float:
    """Return the seconds that a visit takes until one can type."""
    begun = time.monotonic()
    page.goto(address)
    page.wait_for_selector("#message textarea")
    return time.monotonic() - begun


def _contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two CSS colours (WCAG 2.1)."""
    light = sorted(map(_luminance, (one, other)))
    return (light[1] + 0.05) / (light[0] + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in colour.partition("(")[2].rstrip(")").split(",")[:3]]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
