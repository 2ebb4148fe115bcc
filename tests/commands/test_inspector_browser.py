"""The page of `attend.py serve=true` in a real browser, Debian's chromium; SHOTS=FOLDER keeps pictures of it."""

import os
import re
import shutil
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from harness import free_port
from PIL import Image

from contextseg import create_model
from contextseg.classes import ClassSet
from contextseg.commands.attend.gallery import Example

pytestmark = pytest.mark.slow
CLASSES = ClassSet("six", list("abcdef"), [[40 * i, 255 - 40 * i, 128] for i in range(6)])
WIDTH, HEIGHT = 120, 90
RAMP = np.stack(np.broadcast_arrays(np.arange(WIDTH) * 2, np.arange(HEIGHT)[:, None] * 2, 90), -1).astype(np.uint8)
TRUTH = np.full((HEIGHT, WIDTH), 2, np.uint8)


def network(head):
    torch.manual_seed(0)
    made = create_model(head, backbone="tiny", num_classes=len(CLASSES), channels=16)
    made.classes = CLASSES
    return made.eval()


@pytest.fixture(scope="module")
def url():
    pytest.importorskip("uvicorn", reason="the page needs starlette and uvicorn: pip install 'contextseg[inspector]'")
    from contextseg.commands.attend.server import served

    examples = [Example("ramp", RAMP, TRUTH), Example("back", RAMP[:, ::-1].copy(), TRUTH)]
    models = {"one": network("ccnet"), "two": network("fcn")}
    with served(models, examples, port=free_port(), longest_side=128) as address:
        yield address


@pytest.fixture(scope="module")
def url_of_regions():
    pytest.importorskip("uvicorn", reason="the page needs starlette and uvicorn: pip install 'contextseg[inspector]'")
    from contextseg.commands.attend.server import served

    with served({"one": network("ocr")}, [Example("ramp", RAMP, TRUTH)], port=free_port(), longest_side=128) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright, which drives a browser")
    found = filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome")))
    if not (chromium := next(found, None)):
        pytest.skip("no chromium or chrome on PATH")
    with playwright.sync_playwright() as driver, driver.chromium.launch(executable_path=chromium) as opened:
        yield opened


class User:
    """Somebody with the page open, who sees every request and every error."""

    def __init__(self, browser, url, fragment="", **settings):
        from playwright.sync_api import expect

        self.expect, self.asked, self.errors = expect, [], []
        settings = {"viewport": {"width": 1300, "height": 900}} | settings
        self.context = browser.new_context(accept_downloads=True, **settings)
        self.page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        expect.set_options(timeout=20_000)
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(url + fragment)
        self.canvas = self.page.locator("canvas.large").first
        expect(self.page.locator(".tiles .tile:visible, #image-error:visible").first).to_be_visible()
        expect(self.page.locator(".progress:visible")).to_have_count(0)  # the models have seen the first image

    def place(self, x, y):
        """The middle of a pixel of the image on the screen."""
        box = self.canvas.bounding_box()
        return box["x"] + (x + 0.5) * box["width"] / WIDTH, box["y"] + (y + 0.5) * box["height"] / HEIGHT

    def hover(self, x, y):
        self.page.mouse.move(*self.place(x, y))
        self.reads(x, y)

    def reads(self, x, y):
        for where in self.page.locator(".where").all():
            self.expect(where).to_contain_text(f"Pixel {x}, {y}")

    def pictures(self):
        return self.page.locator(".pin figure:visible")

    def shot(self, name):
        if folder := os.environ.get("SHOTS"):
            self.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)

    def close(self):
        self.context.close()
        assert not self.errors


@pytest.fixture
def user(browser, url):
    opened = User(browser, url)
    yield opened
    opened.close()
    assert not [each for each in opened.asked if not each.startswith((url, "blob:"))]


def test_hover_pin_and_compare_two_models(user):
    user.hover(30, 20)
    user.expect(user.page.locator(".where").first).to_contain_text(re.compile("truth: c [✓✗]"))
    user.expect(user.page.locator(".best li")).to_have_count(10)
    user.expect(user.page.locator(".range").first).to_contain_text("This map goes from")
    user.expect(user.page.locator(".range").first).to_contain_text(re.compile(r"^(Takes from|Lies on) \w+ [\d.]+ %"))
    user.expect(user.page.locator(".range").last).to_contain_text("no attention of its own")
    before = user.canvas.screenshot()
    user.hover(90, 70)
    assert user.canvas.screenshot() != before
    user.page.mouse.click(*user.place(90, 70))
    user.page.mouse.click(*user.place(20, 70))
    user.expect(user.pictures()).to_have_count(2 * 3)  # a context and two gradients for each
    user.expect(user.page.locator(".range").last).to_contain_text("This map goes from")  # the gradient of the last pin
    user.page.get_by_label("Scale").select_option("common")
    high = user.page.locator(".scale span:last-child")
    assert float(high.first.text_content()) > 0
    user.shot("two_models")
    user.page.get_by_role("button", name="remove pin 1").click()
    user.expect(user.pictures()).to_have_count(3)


def test_keys_move_pin_and_zoom(user):
    user.hover(60, 40)
    user.canvas.focus()
    user.page.keyboard.press("ArrowRight")
    user.page.keyboard.press("Shift+ArrowUp")
    user.reads(61, 30)
    user.expect(user.page.locator("#spoken")).to_contain_text("Pixel 61, 30. one: ")
    user.page.keyboard.press("Enter")
    user.expect(user.page.locator("article.pin")).to_have_count(1)
    user.page.keyboard.press("Delete")
    user.expect(user.page.locator("article.pin")).to_have_count(0)
    before = user.canvas.screenshot()
    user.page.keyboard.press("+")
    user.expect(user.page).to_have_url(re.compile("view=1.5"))
    assert user.canvas.screenshot() != before
    user.page.keyboard.press("0")
    user.expect(user.page).not_to_have_url(re.compile("view="))


def test_an_upload_and_a_bad_one(user, tmp_path):
    Image.fromarray(np.tile(RAMP, (2, 2, 1))).save(tmp_path / "mine.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    user.page.locator("#file").set_input_files(tmp_path / "mine.png")
    user.expect(user.page.locator("#size")).to_have_text("mine.png: 240 x 180, scaled down to 128 x 96")
    user.expect(user.page.locator("#thumbnails button")).to_have_count(3)
    user.expect(user.page.locator(".tiles").first.locator("button")).to_have_count(2)  # no truth
    user.page.locator("#file").set_input_files(tmp_path / "bad.png")
    error = user.page.locator("#image-error")
    user.expect(error).to_contain_text("Cannot read bad.png")
    user.shot("bad_upload")
    user.expect(user.page.locator("#size")).to_contain_text("mine.png")  # the last good state stays
    user.page.mouse.move(*user.place(3, 3))
    user.expect(user.page.locator(".best:visible")).to_have_count(2)
    user.expect(error).to_be_visible()
    user.page.locator("#thumbnails button").first.click()
    user.expect(user.page.locator("#size")).to_contain_text("ramp")
    user.expect(error).to_be_hidden()


HAND_OVER = """async (how) => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 50, height: 30 });
  canvas.getContext("2d").fillText(how, 5, 20);
  const data = new DataTransfer();
  data.items.add(new File([await new Promise((done) => canvas.toBlob(done))], how + ".png", { type: "image/png" }));
  const settings = { bubbles: true, cancelable: true, clipboardData: data, dataTransfer: data };
  document.body.dispatchEvent(how === "paste" ? new ClipboardEvent(how, settings) : new DragEvent(how, settings));
}"""


@pytest.mark.parametrize("how", ["drop", "paste"])
def test_an_image_is_dropped_or_pasted(user, how):
    user.page.evaluate(HAND_OVER, how)
    user.expect(user.page.locator("#size")).to_have_text(f"{how}.png: 50 x 30")


def test_a_slow_model_shows_progress_and_a_failing_one_says_so(user):
    held = []
    user.page.route("**/looks/0/*/labels", lambda route: held.append(route))
    user.page.route("**/looks/1/*/labels", lambda route: route.fulfill(status=400, json={"error": "it broke: mend it"}))
    user.page.locator("#thumbnails button").nth(1).click()
    user.expect(user.page.locator(".panel .error:visible")).to_have_text("It broke: mend it.")
    user.expect(user.page.locator(".progress:visible")).to_contain_text("The model looks at the image, once")
    held[0].continue_()
    user.expect(user.page.locator(".progress:visible")).to_have_count(0)
    user.page.mouse.move(*user.place(30, 20))
    user.expect(user.page.locator(".best:visible")).to_have_count(1)  # the other goes on


def test_a_link_shows_the_same(user, browser, url):
    user.page.locator("#thumbnails button").nth(1).click()
    user.expect(user.page.locator("#size")).to_contain_text("back")
    user.expect(user.page.locator(".progress:visible")).to_have_count(0)
    user.page.mouse.click(*user.place(100, 10))
    user.hover(50, 60)
    user.page.locator("[data-base=truth]").first.click()
    user.expect(user.page).to_have_url(re.compile("at=50%2C60&pins=100%2C10.*base=truth"))
    other = User(browser, url, user.page.url.removeprefix(url))
    other.reads(50, 60)
    other.expect(other.page.locator("article.pin h3")).to_have_text("Pin 1: pixel 100, 10")
    other.expect(other.page.locator("#size")).to_contain_text("back")
    other.expect(other.page.locator("#base")).to_have_value("truth")
    other.close()
    lost = User(browser, url, "#image=0123456789abcdef")
    lost.expect(lost.page.locator("#image-error")).to_contain_text("upload it again")
    lost.close()


def test_save_the_picture(user, tmp_path):
    user.hover(50, 60)
    user.page.mouse.click(*user.place(50, 60))
    user.expect(user.pictures()).to_have_count(3)
    with user.page.expect_download() as download:
        user.page.get_by_role("button", name="Save picture", exact=True).click()
    assert download.value.suggested_filename == "ramp_50_60.png"
    download.value.save_as(tmp_path / "saved.png")
    saved = np.asarray(Image.open(tmp_path / "saved.png").convert("RGB"))
    assert saved.shape[1] == 2 * (640 + 16) + 16
    assert saved.std() > 10
    if folder := os.environ.get("SHOTS"):
        shutil.copy(tmp_path / "saved.png", Path(folder) / "saved.png")


def test_save_it_as_svg(user, tmp_path):
    user.hover(50, 60)
    with user.page.expect_download() as download:
        user.page.get_by_role("button", name="Save picture as SVG").click()
    assert download.value.suggested_filename == "ramp_50_60.svg"
    download.value.save_as(tmp_path / "saved.svg")
    drawing = ElementTree.parse(tmp_path / "saved.svg").getroot()
    assert drawing.get("width") == str(2 * (640 + 16) + 16)
    words = [element.text for element in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert {"one: context", "0", *CLASSES.names} <= {*words}  # the map, the end of its scale, the classes
    assert words[2] == user.page.locator(".scale span:last-child").first.text_content()
    pictures = [element.get("href") for element in drawing.iter("{http://www.w3.org/2000/svg}image")]
    assert len(pictures) == 3  # a colour bar, and a picture for each model
    assert all(picture.startswith("data:image/png;base64,") for picture in pictures)
    if folder := os.environ.get("SHOTS"):
        shutil.copy(tmp_path / "saved.svg", Path(folder) / "saved.svg")


def test_read_the_other_way_round(user, browser, url):
    user.hover(30, 20)
    user.page.mouse.click(*user.place(60, 50))
    user.expect(user.pictures()).to_have_count(3)
    before = user.canvas.screenshot()
    user.page.get_by_label("Read").select_option("to")
    user.expect(user.page.locator(".pin figcaption").first).to_contain_text("who takes from here")
    user.expect(user.page).to_have_url(re.compile("way=to"))
    assert user.canvas.screenshot() != before
    other = User(browser, url, user.page.url.removeprefix(url))
    other.expect(other.page.get_by_label("Read")).to_have_value("to")
    other.close()


def shows(user, words):
    """Who takes from a region is drawn, large, in place of the pixel's map."""
    return user.expect(user.canvas).to_have_attribute("aria-label", re.compile(re.escape(words)))


def test_a_region_under_the_cursor_or_focus_shows_who_takes_from_it(browser, url_of_regions):
    user = User(browser, url_of_regions)
    user.hover(30, 20)
    user.page.get_by_text("Inside the head").click()
    region = user.page.get_by_role("button", name="who takes from c (regions)")
    region.scroll_into_view_if_needed()
    before = user.canvas.screenshot()
    region.hover()
    shows(user, "who takes from c (regions)")
    assert user.canvas.screenshot() != before
    user.shot("region")
    user.page.get_by_role("heading", level=1).hover()
    shows(user, "pixel 30, 20")
    assert user.canvas.screenshot() == before
    region.focus()
    shows(user, "who takes from c (regions)")
    user.page.keyboard.press("Tab")
    shows(user, "who takes from d (regions)")
    user.hover(31, 21)
    shows(user, "pixel 31, 21")
    user.close()


def test_a_tap_on_a_region_shows_who_takes_from_it(browser, url_of_regions):
    user = User(browser, url_of_regions, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    user.page.get_by_text("Inside the head").tap()
    user.page.get_by_role("button", name="who takes from c (relations)").tap()
    shows(user, "who takes from c (relations)")
    user.expect(user.canvas).to_be_in_viewport()
    user.page.touchscreen.tap(*user.place(30, 20))
    shows(user, "pixel 30, 20")
    user.close()


def test_how_far_it_looks(user):
    user.page.get_by_text("How far it looks").first.click()
    user.expect(user.page.locator(".inside:visible")).to_contain_text("pixels away in the mean (equal weights: ")
    matrix = user.page.get_by_role("button", name="enlarge the matrix of context")
    matrix.click()
    user.expect(user.page.locator("#large img")).to_be_visible()
    user.page.get_by_role("button", name="Close").click()
    user.page.get_by_text("How far it looks").last.click()
    user.expect(user.page.locator(".inside:visible").last).to_contain_text("no attention between the places")


def test_a_phone_in_the_dark(browser, url):
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
    user = User(browser, url, color_scheme="dark", **phone)
    user.page.touchscreen.tap(*user.place(30, 20))
    user.reads(30, 20)
    user.expect(user.page.locator("article.pin")).to_have_count(0)
    user.page.get_by_role("button", name="Pin this pixel").click()
    user.expect(user.pictures()).to_have_count(3)
    width = user.page.locator("html").bounding_box()["width"]
    assert width <= 390  # nothing reaches beyond the screen
    for element in user.page.locator("button:visible, select:visible, canvas:visible").all():
        box = element.bounding_box()
        if not element.locator("xpath=ancestor::*[@id='thumbnails']").count():  # these scroll in their row
            assert box["x"] + box["width"] <= 390
    user.shot("phone")
    user.close()


@contextmanager
def notebook(host, frame):
    """A site of this machine that shows the page in a frame."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(f'<iframe src="{frame}" width=1200 height=800></iframe>'.encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer((host, 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_a_local_notebook_shows_the_page_and_another_site_does_not(browser, url):
    page = browser.new_page(viewport={"width": 1300, "height": 900})
    with notebook("127.0.0.1", url) as port:
        for name in ("localhost", "127.0.0.1"):
            page.goto(f"http://{name}:{port}")
            frame = page.frame_locator("iframe")
            frame.locator("canvas.large").first.hover(timeout=20_000)
            frame.locator(".range", has_text="This map goes from").first.wait_for(timeout=20_000)
    with notebook("127.0.0.2", url) as port:
        with page.expect_console_message(lambda message: "frame-ancestors" in message.text):
            page.goto(f"http://127.0.0.2:{port}")
        assert not page.frame_locator("iframe").locator("canvas").count()
    page.close()


def test_the_end_of_the_server_is_told_and_the_picture_stays(user):
    user.hover(30, 20)
    user.page.route("**/context*", lambda route: route.abort())
    user.page.mouse.move(*user.place(31, 25))
    user.expect(user.page.locator(".panel .error").first).to_contain_text("The server does not answer")
    user.reads(30, 20)
    user.page.unroute("**/context*")
    user.hover(33, 25)
    user.expect(user.page.locator(".panel .error:visible")).to_have_count(0)
