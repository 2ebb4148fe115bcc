"""The page of `attend.py serve=true`: what it answers, its limits, and what its user, and others, get from it."""

import json
import signal
import socket
import subprocess
import sys
import time
import zlib
from io import BytesIO

import numpy as np
import pytest
import torch
from harness import COMMANDS, call, free_port, subprocess_environment, train
from PIL import Image

from contextseg import create_model
from contextseg.classes import ClassSet
from contextseg.commands.attend import command
from contextseg.commands.attend.gallery import UPLOADS, Example, Gallery, scaled_down
from contextseg.commands.attend.inline import OPENED, inline
from contextseg.commands.attend.looks import KEPT
from contextseg.commands.attend.server import served
from contextseg.commands.attend.upload import read_upload
from contextseg.errors import ConfigError
from contextseg.explain import Look, context_maps, inside_maps
from contextseg.layers.attention import Dense

CLASSES = ClassSet("three", ["sea", "sand & stones", "sky"], [[0, 0, 255], [255, 255, 0], [0, 255, 255]])
IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
TRUTH = np.arange(48 * 64, dtype=np.uint8).reshape(48, 64) % 3


def network(head, **settings):
    torch.manual_seed(0)
    made = create_model(head, backbone="tiny", num_classes=len(CLASSES), channels=16, **settings)
    made.classes = CLASSES
    return made.eval()


# Uploads


def png(path, width, height, pixels=b""):
    """A PNG file of that size with compressed `pixels`: none would be needed to tell how large it is."""

    def chunk(kind, content):
        return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)

    head = width.to_bytes(4) + height.to_bytes(4) + bytes([8, 2, 0, 0, 0])
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))
    return path


def saved(path, image=IMAGE):
    Image.fromarray(image).save(path)
    return path


def test_a_large_image_is_refused_before_it_is_decoded(tmp_path):
    for name, size, words in (
        ("bomb.png", (10_000, 5_000), r"^bomb.png has 50 megapixels, more than 25"),  # decoding would find it broken
        ("far.png", (60_000, 60_000), r"^far.png has 3600 megapixels"),
        ("small.png", (100, 100), r"^cannot read small.png"),
    ):
        with pytest.raises(ConfigError, match=words):
            read_upload(name, png(tmp_path / name, *size).read_bytes())


def test_the_content_of_an_upload_decides_not_its_name(tmp_path):
    with pytest.raises(ConfigError, match=r"^cannot read a.png .*cannot identify"):
        read_upload("a.png", saved(tmp_path / "a.eps").read_bytes())
    assert np.array_equal(read_upload("b.eps", saved(tmp_path / "b.png").read_bytes()), IMAGE)


def test_only_larger_images_are_scaled_down():
    assert np.array_equal(scaled_down(IMAGE, 64), IMAGE)
    assert scaled_down(IMAGE, 32).shape == (24, 32, 3)


def test_examples_stay_and_the_oldest_uploads_go():
    gallery = Gallery([Example("noise", IMAGE, TRUTH)], longest_side=32)
    (example,) = gallery.examples.values()
    assert (example.image.shape, example.truth.shape, example.given) == ((24, 32, 3), (24, 32), (48, 64))
    assert set(np.unique(example.truth)) <= {0, 1, 2}
    assert gallery.add("the same", IMAGE) is example
    keys = [gallery.add(str(i), np.full((4, 4, 3), i, np.uint8)).key for i in range(UPLOADS + 1)]
    assert gallery[keys[-1]].name == str(UPLOADS)
    assert gallery[example.key] is example
    with pytest.raises(ConfigError, match=r"not on the page .* upload it again"):
        gallery[keys[0]]


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
        (("ckpt4=b.ckpt", "image=a.png", "point=[1,2]"), "ckpt4=b.ckpt: checkpoints are compared on the page only"),
        (("point=[1,2]",), "image=null: give an image file, or serve=true"),
    ],
)
def test_options_are_checked_by_what_is_asked_for(options, words):
    code, said = call("attend", "ckpt=a.ckpt", *options)
    assert code == 2
    assert words in " ".join(said.split())


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_the_extra_is_named_where_a_package_is_missing(monkeypatch, package):
    monkeypatch.setattr("contextseg.commands.attend.options.find_spec", lambda name: None if name == package else 1)
    code, said = call("attend", "ckpt=a.ckpt", "serve=true")
    assert code == 2
    assert f"serve=true needs {package}: pip install 'contextseg[inspector]'" in " ".join(said.split())


def test_examples_are_validation_images_if_they_are_there():
    scenes = {"_target_": "contextseg.datamodules.context_scenes.ContextScenes", "val_size": 4, "size": 96}
    examples = command.examples({"data": scenes})
    assert [example.name for example in examples] == [f"scene_2_{i:05d}" for i in range(4)]
    assert all(example.truth.shape == example.image.shape[:2] for example in examples)
    assert command.examples({"data": {"_target_": "contextseg.datamodules.camvid.CamVid", "root": "nowhere"}}) == []


def test_an_oracle_is_refused():
    with (
        pytest.raises(ConfigError, match="it needs the ground truth"),
        served({"a": network("ocr_ground_truth")}, [], port=free_port(), longest_side=64),
    ):
        pass


# What the page gets


NAMES = ["fcn", "ctnet", "cpnet"]


@pytest.fixture(scope="module")
def networks():
    return {name: network(name, **({"crop_size": (32, 32)} if name == "cpnet" else {})) for name in NAMES}


@pytest.fixture
def client(networks):
    """The page with three networks and one example, asked without a socket."""
    testclient = pytest.importorskip("starlette.testclient", reason="the page needs starlette and uvicorn")
    from contextseg.commands.attend.app import application

    app = application(networks, [Example("noise", IMAGE, TRUTH)], longest_side=64)
    return testclient.TestClient(app, "http://127.0.0.1:7860", raise_server_exceptions=False)


@pytest.fixture
def key(client):
    return client.get("/page").json()["images"][0]["key"]


def unpacked(content):
    """The header and the maps of an answer, as the page reads them."""
    length = int.from_bytes(content[:4], "little")
    header, numbers = json.loads(content[4 : 4 + length]), np.frombuffer(content[4 + length :], "<f4")
    assert length % 4 == 0
    maps, begin = {}, 0
    for one in header["maps"]:
        end = begin + one["height"] * one["width"]
        maps[one["name"]] = numbers[begin:end].reshape(one["height"], one["width"])
        begin = end
    assert begin == len(numbers)
    return header, maps


def test_what_the_page_offers(client):
    facts = client.get("/page").json()
    assert [model["name"] for model in facts["models"]] == NAMES
    assert [model["attends"] for model in facts["models"]] == [False, True, True]
    assert facts["models"][0]["classes"] == list(CLASSES.names)
    assert len(facts["scale"]) == 256
    (image,) = facts["images"]
    assert (image["name"], image["width"], image["height"], image["truth"]) == ("noise", 64, 48, True)
    shown = client.get(f"/images/{image['key']}")
    (file := BytesIO()).write(shown.content)
    assert np.array_equal(np.asarray(Image.open(file)), IMAGE)
    assert client.get(f"/images/{image['key']}/truth").content == TRUTH.tobytes()


@pytest.mark.parametrize("model", range(3))
def test_a_pixel_is_answered_as_the_library_does(client, key, networks, model):
    asked = networks[NAMES[model]]
    pixels, (x, y) = torch.from_numpy(IMAGE).permute(2, 0, 1), (50, 7)
    probabilities = asked.predict(pixels, probabilities=True)
    assert client.get(f"/looks/{model}/{key}/labels").content == probabilities.argmax(0).byte().numpy().tobytes()
    own, maps = unpacked(client.get(f"/looks/{model}/{key}/context?x={x}&y={y}").content)
    gradient, more = unpacked(client.get(f"/looks/{model}/{key}/gradient?x={x}&y={y}").content)
    expected = context_maps(asked, pixels, (x, y))
    assert [*maps, *more] == list(expected)
    if asked.head.window is None:
        assert own["area"] == [0, 0, 64, 48]
        for name, values in (maps | more).items():
            assert np.allclose(values, expected[name], rtol=1e-4)
    else:
        assert own["area"] == gradient["area"] == [32, 0, 32, 32]
    best = probabilities[:, y, x].topk(3)
    assert [label for label, _ in own["best"]] == best.indices.tolist()
    assert np.allclose([share for _, share in own["best"]], best.values, atol=1e-5)
    for one in own["maps"] + gradient["maps"]:
        values = (maps | more)[one["name"]]
        assert (one["low"], one["high"]) == (values.min(), values.max())


def test_a_map_is_read_the_other_way_round(client, key, networks):
    look = Look(networks["ctnet"], torch.from_numpy(IMAGE).permute(2, 0, 1))
    asking, found = unpacked(client.get(f"/looks/1/{key}/context?x=50&y=7&way=to").content)
    whole = torch.cat([rows for _, rows in look.attention()["context"].by_chunks()])  # (48, 48)
    assert np.allclose(found["context"], whole[:, 0 * 8 + 6].view(6, 8), rtol=1e-4)
    assert asking["best"] == unpacked(client.get(f"/looks/1/{key}/context?x=50&y=7").content)[0]["best"]


def test_how_far_a_head_looks(client, key, networks):
    (kind,) = client.get(f"/looks/1/{key}/reach").json()
    found = Look(networks["ctnet"], torch.from_numpy(IMAGE).permute(2, 0, 1)).reach()["context"]
    assert kind == {"name": "context", "distance": found.distance, "uniform": found.uniform, "entropy": found.entropy}
    assert client.get(f"/looks/1/{key}/reach/context").content.startswith(b"\x89PNG")
    assert client.get(f"/looks/1/{key}/reach/nothing").status_code == 404
    for model, network in enumerate(networks.values()):  # an FCN, and CPNet in windows of the image, have none
        if model != 1:
            assert client.get(f"/looks/{model}/{key}/reach").json() == [], type(network.head)


def test_the_inside_of_a_head(client, key, networks):
    assert client.get(f"/looks/0/{key}/inside").json() == []
    parts = {part.pop("name"): part for part in client.get(f"/looks/1/{key}/inside").json()}
    inside = inside_maps(networks["ctnet"], torch.from_numpy(IMAGE).permute(2, 0, 1))
    assert list(parts) == list(inside)
    assert parts["class_probability"] == {"drawn": "bars", "white": "all", "takers": ""}
    assert parts["pixel_class"] == {"drawn": "maps", "white": "all", "takers": "pixel_class"}
    assert client.get(f"/looks/1/{key}/inside/class_probability").content.startswith(b"\x89PNG")
    header, maps = unpacked(client.get(f"/looks/1/{key}/inside/pixel_class/maps").content)
    assert header["area"] == [0, 0, 64, 48]
    assert list(maps) == CLASSES.names
    assert np.array_equal(np.stack([*maps.values()]), inside["pixel_class"].values)
    for path in ("nothing", "nothing/maps", "class_probability/maps"):
        assert client.get(f"/looks/1/{key}/inside/{path}").status_code == 404


def test_a_network_runs_once_per_image(client, key, networks):
    runs = []
    handle = networks["ctnet"].backbone.register_forward_hook(lambda *_: runs.append(1))
    for path in ("labels", "context?x=1&y=2", "context?x=60&y=2", "gradient?x=1&y=2", "inside"):
        assert client.get(f"/looks/1/{key}/{path}").status_code == 200
    assert len(runs) == 1
    for shade in range(KEPT):
        upload(client, np.full((32, 32, 3), shade, np.uint8), ask=1)
    client.get(f"/looks/1/{key}/labels")
    assert len(runs) == 2 + KEPT  # the look was the oldest
    handle.remove()


def upload(client, image, name="mine.png", ask=None):
    file = BytesIO()
    Image.fromarray(image).save(file, "png")
    answer = client.post(f"/images?name={name}", content=file.getvalue())
    if ask is not None:
        assert client.get(f"/looks/{ask}/{answer.json()['key']}/labels").status_code == 200
    return answer


def test_upload_an_image(client):
    facts = upload(client, np.tile(IMAGE, (2, 2, 1)), "a/b c.png").json()
    assert (facts["name"], facts["given"], facts["width"], facts["truth"]) == ("b c.png", [128, 96], 64, False)
    assert client.get(f"/looks/0/{facts['key']}/context?x=63&y=47").status_code == 200
    assert client.get(f"/images/{facts['key']}/truth").status_code == 404


def test_mistakes_are_told_in_words(client, key, tmp_path):
    def error(answer, status=400):
        assert answer.status_code == status
        return answer.json()["error"]

    bomb = png(tmp_path / "bomb.png", 10_000, 5_000).read_bytes()
    assert error(client.post("/images?name=bomb.png", content=bomb)).startswith("bomb.png has 50 megapixels")
    assert error(client.post("/images", content=b"")).startswith("cannot read the picture")
    assert "lies outside the image" in error(client.get(f"/looks/0/{key}/context?x=64&y=0"))
    assert "there is no pixel" in error(client.get(f"/looks/0/{key}/context?x=a&y=0"))
    assert "there is no model 3" in error(client.get(f"/looks/3/{key}/labels"))
    assert "not on the page" in error(client.get("/looks/0/nothing/labels"))


def test_numbers_that_are_not_finite_are_told(client, networks, monkeypatch):
    broken = Dense(torch.full((48, 48), float("nan")), (6, 8), (6, 8))
    monkeypatch.setattr(networks["ctnet"].head, "attends", lambda *_: {"context": broken})
    fresh = upload(client, IMAGE[::-1]).json()["key"]
    answer = client.get(f"/looks/1/{fresh}/context?x=1&y=1")
    assert answer.status_code == 400
    assert "not finite" in answer.json()["error"]


def test_a_failure_of_ours_is_told_and_the_page_lives_on(client, key, networks, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(networks["ctnet"].head, "attends", lambda *_: 1 / 0)
        fresh = upload(client, IMAGE[:, ::-1]).json()["key"]
        answer = client.get(f"/looks/1/{fresh}/context?x=1&y=1")
    assert answer.status_code == 500
    assert answer.json()["error"] == "ZeroDivisionError: division by zero (the traceback is on the terminal)"
    assert "content-security-policy" in answer.headers
    assert client.get(f"/looks/1/{key}/context?x=1&y=1").status_code == 200


# What others get


def test_no_other_file_and_no_large_one(client):
    for path in (
        "/etc/passwd",
        "/static/../app.py",
        "/static/..%2Fapp.py",
        "/static/%2Fetc%2Fpasswd",
        "/static/app.py",
    ):
        assert client.get(path).status_code == 404
    large = client.post("/images?name=a.png", content=bytes(21 * 2**20))
    assert large.status_code == 413
    assert large.json()["error"] == "a.png has more than 20 MB; give a smaller file"
    assert client.post("/images", content=iter([bytes(2**20)] * 21)).status_code == 413  # of no announced length


def test_other_sites_are_refused(client, key):
    own = "http://127.0.0.1:7860"
    for path in ("/", "/page", f"/images/{key}", f"/looks/0/{key}/labels"):
        assert client.get(path).status_code == 200
        assert client.get(path, headers={"Origin": own}).status_code == 200
        assert client.get(path, headers={"Origin": "http://elsewhere.example"}).status_code == 403
        assert client.get(path, headers={"Origin": "null"}).status_code == 403
        assert client.get(path, headers={"Host": "elsewhere.example"}).status_code == 403
    assert client.post("/images", content=b"", headers={"Origin": "http://127.0.0.1:1"}).status_code == 403


def test_a_browser_is_told_to_ask_nobody_else(client, key):
    for answer in (client.get("/"), client.get("/nothing"), client.get(f"/images/{key}")):
        policy = dict(one.split(" ", 1) for one in answer.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy.pop("frame-ancestors") == "'self' http://127.0.0.1:* http://localhost:*"  # a local notebook
        assert "x-frame-options" not in answer.headers  # which would forbid those too
        assert all(value in ("'none'", "'self'") for value in policy.values())
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in answer.headers


def test_this_machine_alone_and_a_port_in_use(networks):
    pytest.importorskip("uvicorn", reason="the page needs starlette and uvicorn")
    import httpx2

    port = free_port()
    with served(networks, [], port=port, longest_side=64) as url:
        assert httpx2.get(url).status_code == 200
        with pytest.raises(OSError):  # refused, or unreachable
            socket.create_connection(("127.0.0.2", port), timeout=2)  # a server on 0.0.0.0 would answer here
        with (
            pytest.raises(ConfigError, match=f"port={port}: cannot be opened"),
            served(networks, [], port=port, longest_side=64),
        ):
            pass
    with served(networks, [], port=port, longest_side=64) as url:  # the port is free again
        assert httpx2.get(url).status_code == 200


def test_the_page_in_a_notebook(networks):
    pytest.importorskip("uvicorn", reason="the page needs starlette and uvicorn")
    import httpx2

    first, second = (inline({"ctnet": networks["ctnet"]}, [Example("noise", IMAGE)]) for _ in range(2))
    assert first.src != second.src
    for frame in (first, second):  # a cell that was run again has a page of its own
        assert frame.src.startswith("http://127.0.0.1:")
        assert httpx2.get(frame.src + "page").json()["images"][0]["name"] == "noise"
    OPENED.close()
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(first.src)


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_server_leaves_nothing(tmp_path, stop):
    pytest.importorskip("uvicorn", reason="the page needs starlette and uvicorn")
    checkpoint = train(tmp_path / "runs", "trainer.max_steps=1").folder / "checkpoints/last.ckpt"
    (folder := tmp_path / "temporary").mkdir()
    port = free_port()
    words = [sys.executable, COMMANDS / "attend.py", f"ckpt={checkpoint}", "serve=true", f"port={port}"]
    environment = subprocess_environment() | {"TMPDIR": str(folder)}
    with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True) as server:
        try:
            wait_for(port, server)
            server.send_signal(stop)
            assert server.wait(60) == 128 + stop
        finally:
            server.kill()
        assert "Traceback" not in server.stderr.read()
    assert not list(folder.iterdir())


def wait_for(port, server, seconds=90):
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        with socket.socket() as some:
            if some.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError("no page")
