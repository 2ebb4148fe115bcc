"""The page of `attend.py serve=true`: the work behind it, its limits, and what its user, and others, get from it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from harness import COMMANDS, call, subprocess_environment, train
from PIL import Image

from contextseg import create_model
from contextseg.classes import ClassSet
from contextseg.commands.attend import command
from contextseg.commands.attend.inspection import inspect
from contextseg.commands.attend.server import served
from contextseg.commands.attend.upload import read_upload, scaled_down
from contextseg.errors import ConfigError
from contextseg.explain import context_maps, inside_maps
from contextseg.explain.draw_context import context_tiles

CLASSES = ClassSet("three", ["sea", "sand & stones", "sky"], [[0, 0, 255], [255, 255, 0], [0, 255, 255]])
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio.*")
IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


def network(head):
    torch.manual_seed(0)
    made = create_model(head, backbone="tiny", num_classes=len(CLASSES))
    made.classes = CLASSES
    return made.eval()


# The work behind the page


@pytest.mark.parametrize("head", ["fcn", "ocr", "ctnet"])
def test_all_there_is_to_see_of_a_pixel(head):
    model, point = network(head), (50, 7)
    seen = inspect(model, IMAGE, point)
    pixels = torch.from_numpy(IMAGE).permute(2, 0, 1)
    maps, labels = context_maps(model, pixels, point), model.predict(pixels).numpy()
    assert [caption.partition(",")[0] for caption in seen.context] == ["image", "prediction", *maps, "classes"]
    assert f"prediction, {seen.predicted}" in seen.context
    assert seen.predicted == CLASSES.names[labels[7, 50]]
    assert list(seen.inside) == list(inside_maps(model, pixels))
    for caption, tile in context_tiles(IMAGE, labels, maps, point, CLASSES).items():
        touched = (seen.context[caption.replace("\n", ", ")] != tile.repeat(4, 0).repeat(4, 1)).any(-1)  # 4 = 256 // 64
        rows, columns = touched.nonzero()
        assert abs(rows.mean() - 4 * 7.5) < 1  # the ring around the pixel, and nothing else
        assert abs(columns.mean() - 4 * 50.5) < 1
        assert touched.sum() < 200


def test_a_pixel_outside_is_refused():
    with pytest.raises(ConfigError, match=r"point=\[64, 0\] lies outside"):
        inspect(network("fcn"), IMAGE, (64, 0))


# Uploads


def png(path, width, height, pixels=b""):
    """A PNG file of that size with compressed `pixels`: none would be needed to tell how large it is."""

    def chunk(kind, content):
        return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)

    head = width.to_bytes(4) + height.to_bytes(4) + bytes([8, 2, 0, 0, 0])
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))
    return path


def test_a_large_image_is_refused_before_it_is_decoded(tmp_path):
    with pytest.raises(ConfigError, match=r"^bomb.png has 50 megapixels, more than 25"):
        read_upload(png(tmp_path / "bomb.png", 10_000, 5_000))  # decoding would find it broken
    with pytest.raises(ConfigError, match=r"^far.png has 3600 megapixels"):
        read_upload(png(tmp_path / "far.png", 60_000, 60_000))
    with pytest.raises(ConfigError, match=r"^cannot read small.png"):
        read_upload(png(tmp_path / "small.png", 100, 100))


def test_the_content_of_an_upload_decides_not_its_name(tmp_path):
    Image.fromarray(IMAGE).save(tmp_path / "a.eps")
    shutil.move(tmp_path / "a.eps", tmp_path / "a.png")
    with pytest.raises(ConfigError, match=r"^cannot read a.png .*cannot identify"):
        read_upload(tmp_path / "a.png")
    Image.fromarray(IMAGE).save(tmp_path / "b.png")
    assert np.array_equal(read_upload(tmp_path / "b.png"), IMAGE)


def test_only_larger_images_are_scaled_down():
    assert np.array_equal(scaled_down(IMAGE, 64), IMAGE)
    assert scaled_down(IMAGE, 32).shape == (24, 32, 3)


# Options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("image=a.png", "serve=true"), "image=a.png: with serve=true, the page asks for it"),
        (("point=[1,2]", "serve=true"), "point=[1,2]: with serve=true"),
        (("serve=true", "port=70000"), "port=70000: give a whole number, 1 or more, at most 65535"),
        (("serve=true", "longest_side=big"), "longest_side=big: give a whole number"),
        (("serve=maybe",), "serve=maybe: give true or false"),
        (("ckpt2=b.ckpt", "image=a.png", "point=[1,2]"), "add serve=true"),
        (("point=[1,2]",), "image=null: give an image file, or serve=true"),
    ],
)
def test_options_are_checked_by_what_is_asked_for(options, words):
    code, said = call("attend", "ckpt=a.ckpt", *options)
    assert code == 2
    assert words in " ".join(said.split())


def test_without_gradio_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("contextseg.commands.attend.options.find_spec", lambda name: None)
    code, said = call("attend", "ckpt=a.ckpt", "serve=true")
    assert code == 2
    assert "pip install 'contextseg[inspector]'" in " ".join(said.split())


def test_examples_are_validation_images_if_they_are_there():
    scenes = {"_target_": "contextseg.datamodules.context_scenes.ContextScenes", "val_size": 4, "size": 96}
    assert list(command.examples({"data": scenes})) == [f"scene_2_{i:05d}" for i in range(4)]
    assert command.examples({"data": {"_target_": "contextseg.datamodules.camvid.CamVid", "root": "nowhere"}}) == {}


def test_an_oracle_is_refused():
    with (
        pytest.raises(ConfigError, match="it needs the ground truth"),
        served({"a": network("ocr_ground_truth")}, {}, port=free_port(), longest_side=64),
    ):
        pass


# The page


def free_port():
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        return some.getsockname()[1]


@pytest.fixture(scope="module")
def url():
    """A page with two networks and one example."""
    pytest.importorskip("gradio", reason="the page needs gradio: pip install 'contextseg[inspector]'")
    os.environ["GRADIO_ALLOWED_PATHS"] = "/"  # must have no effect
    before = dict(os.environ), tempfile.gettempdir()
    models = {"one": network("fcn"), "two": network("ctnet")}
    with served(models, {"noise": IMAGE}, port=free_port(), longest_side=64) as address:
        folder = Path(os.environ["GRADIO_TEMP_DIR"])
        assert folder.is_dir()
        yield address
    assert not folder.exists()
    assert (dict(os.environ), tempfile.gettempdir()) == before
    del os.environ["GRADIO_ALLOWED_PATHS"]


@pytest.fixture
def user(url, tmp_path):
    """Somebody with the page open."""
    from gradio_client import Client

    return Client(url, verbose=False, analytics_enabled=False, download_files=tmp_path)


def ask(user, *arguments, api_name):
    from gradio_client import handle_file

    return user.predict(*(handle_file(a) if isinstance(a, Path) else a for a in arguments), api_name=api_name)


def test_choose_an_image_and_ask_two_models(user):
    assert ask(user, "noise", api_name="/example")[0] == "64 x 48"
    predicted, context, inside, *second = ask(user, 50, 7, ["one", "two"], api_name="/inspect")
    assert predicted in CLASSES.names
    expected = inspect(network("fcn"), IMAGE, (50, 7)).context
    assert [tile["caption"] for tile in context] == list(expected)
    for tile in context:
        assert np.array_equal(np.asarray(Image.open(tile["image"]).convert("RGB")), expected[tile["caption"]])
    assert not inside
    assert second[0] in CLASSES.names
    assert "class_probability" in [tile["caption"] for tile in second[2]]


def test_a_model_that_is_not_ticked_is_not_asked(user):
    ask(user, "noise", api_name="/example")
    first, _, _, second, context, _ = ask(user, 5, 7, ["two"], api_name="/inspect")
    assert (first, context != []) == (None, True)
    assert second in CLASSES.names


def test_upload_an_image(user, tmp_path):
    Image.fromarray(np.tile(IMAGE, (2, 2, 1))).save(tmp_path / "mine.png")
    example, size, *_ = ask(user, tmp_path / "mine.png", api_name="/upload")
    assert (example, size) == (None, "128 x 96, scaled down to 64 x 48")
    assert ask(user, 63, 47, ["one"], api_name="/inspect")[0] in CLASSES.names


def test_a_click_is_told_in_pixels_of_the_image(url):
    import httpx

    dependencies = httpx.get(f"{url}config").json()["dependencies"]
    number = {each["api_name"]: place for place, each in enumerate(dependencies)}

    def event(name, data, **more):
        request = {"fn_index": number[name], "data": data, "session_hash": "clicker", **more}
        httpx.post(f"{url}gradio_api/queue/join", json=request).raise_for_status()
        answers = httpx.get(f"{url}gradio_api/queue/data?session_hash=clicker", timeout=30).text
        return next(line for line in answers.splitlines() if "process_completed" in line)

    event("example", ["noise"])
    assert '"data":[50,7]' in event("click", [None], event_data={"index": [505, 79], "value": None})  # shown tenfold


def test_mistakes_are_told_in_words(user, tmp_path):
    with pytest.raises(Exception, match="there is no image yet"):
        ask(user, 1, 2, ["one"], api_name="/inspect")
    with pytest.raises(Exception, match=r"bomb\.png has 50 megapixels"):
        ask(user, png(tmp_path / "bomb.png", 10_000, 5_000), api_name="/upload")
    ask(user, "noise", api_name="/example")
    with pytest.raises(Exception, match="tick at least one"):
        ask(user, 1, 2, [], api_name="/inspect")
    with pytest.raises(Exception, match="lies outside the image"):
        ask(user, 64, 0, ["one"], api_name="/inspect")


def test_no_other_file_and_no_large_one(url, tmp_path):
    import httpx

    for path in ("/etc/passwd", __file__, "tests/conftest.py"):
        assert httpx.get(f"{url}gradio_api/file={path}").status_code == 403
    sent = httpx.post(f"{url}gradio_api/upload", files={"files": ("a.png", bytes(21 * 2**20))})
    assert sent.status_code == 413
    assert httpx.post(f"{url}gradio_api/upload", files={"files": ("a.png", b"small")}).status_code == 200


def test_other_sites_and_other_machines_are_refused(url):
    import httpx

    assert httpx.get(url).status_code == 200
    assert httpx.get(url, headers={"Origin": url.rstrip("/")}).status_code == 200
    assert httpx.get(url, headers={"Origin": "http://elsewhere.example"}).status_code == 403
    assert httpx.get(url, headers={"Host": "elsewhere.example"}).status_code == 403
    port = int(url.rstrip("/").rpartition(":")[2])
    with pytest.raises(OSError):  # refused, or unreachable
        socket.create_connection(("127.0.0.2", port), timeout=2)  # a server on 0.0.0.0 would answer here


def test_a_port_in_use_is_told(url):
    port = int(url.rstrip("/").rpartition(":")[2])
    with (
        pytest.raises(ConfigError, match=f"port={port}: cannot be opened"),
        served({"a": network("fcn")}, {}, port=port, longest_side=64),
    ):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_server_leaves_nothing(tmp_path, stop):
    pytest.importorskip("gradio", reason="the page needs gradio: pip install 'contextseg[inspector]'")
    checkpoint = train(tmp_path / "runs", "trainer.max_steps=1").folder / "checkpoints/last.ckpt"
    (folder := tmp_path / "temporary").mkdir()
    port = free_port()
    command = [sys.executable, COMMANDS / "attend.py", f"ckpt={checkpoint}", "serve=true", f"port={port}"]
    environment = subprocess_environment() | {"TMPDIR": str(folder)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as server:
        try:
            wait_for(port, server)
            assert list(folder.glob("contextseg_attend_*"))
            server.send_signal(stop)
            assert server.wait(60) == 128 + stop
        finally:
            server.kill()
        assert "Traceback" not in server.stderr.read()
    assert not list(folder.glob("contextseg_attend_*"))


def wait_for(port, server, seconds=90):
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        with socket.socket() as some:
            if some.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError("no page")


@pytest.mark.slow
def test_in_a_browser(url):
    browsers = pytest.importorskip("playwright.sync_api", reason="no playwright, which drives a browser")
    found = filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome")))
    if not (chromium := next(found, None)):
        pytest.skip("no chromium or chrome on PATH")
    with browsers.sync_playwright() as driver, driver.chromium.launch(executable_path=chromium) as browser:
        page, asked = browser.new_page(), []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(url)
        page.locator("#image img").click()  # its middle; the page has opened the first example
        browsers.expect(page.locator(".predicted :is(input, textarea)").first).not_to_have_value("", timeout=30_000)
        assert int(page.get_by_label("x", exact=True).input_value()) in (31, 32)
        assert int(page.get_by_label("y", exact=True).input_value()) in (23, 24)
        browsers.expect(page.locator(".context").first.locator("img")).to_have_count(4)
    assert not [each for each in asked if not each.startswith((url, "data:", "blob:"))]
