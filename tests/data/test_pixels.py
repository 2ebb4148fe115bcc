"""Kinds of picture files at every door: read as what they seem, or refused in words."""

import os
import struct
import zlib
from contextlib import suppress
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from trees import NAMES, PALETTE, plant

from contextseg import create_model
from contextseg.classes import ClassSet
from contextseg.commands.attend import command as attend
from contextseg.commands.attend.options import AttendOptions
from contextseg.commands.attend.upload import read_upload
from contextseg.commands.check_data.faults import examine
from contextseg.commands.predict.command import Outcome, label_images
from contextseg.data import depth, pixels
from contextseg.data.labels import Colours, Indices
from contextseg.data.orientation import TAG
from contextseg.data.orientation import turned as turned_array
from contextseg.data.pixels import Reading, read_image
from contextseg.data.source import FileSource
from contextseg.datamodules.folder import Folder
from contextseg.errors import ConfigError
from contextseg.inference import WholeImage
from contextseg.inference.clips import FileClips
from contextseg.inference.labeller import Labeller

RGB = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
DEEP = RGB.astype(np.uint16) * 257
LABELS = np.resize(np.arange(4, dtype=np.uint8), (8, 12))
UPRIGHT = Reading(upright=True)


def turned(orientation):
    exif = Image.Exif()
    exif[TAG] = orientation
    return exif


def pages(path, *more, **options):
    """A file of two pages, the second in other colours."""
    Image.fromarray(RGB).save(path, save_all=True, append_images=[Image.fromarray(255 - RGB)], **options)


def cut(path):
    Image.fromarray(RGB).save(path)
    path.write_bytes(path.read_bytes()[:-60])


def eps(path):
    Image.fromarray(RGB).save(path, format="EPS")


def bands(path):
    cv2.imwrite(str(path), RGB.astype(np.float32))


def tall(path):
    Image.new("1", (60_000, 60_000)).save(path)


def array(values, **options):
    return lambda path: Image.fromarray(values).save(path, **options)


def bgr(values):
    return lambda path: cv2.imwrite(
        str(path), values[..., ::-1] if values.shape[-1] == 3 else values[..., [2, 1, 0, 3]]
    )


REFUSED = {  # name -> how it is written, what is said
    "empty.png": (lambda path: path.write_bytes(b""), "cannot identify image file"),
    "cut.png": (cut, "image file is truncated"),
    "cut.jpg": (cut, "image file is truncated"),
    "text.png": (lambda path: path.write_text("hello"), "cannot identify image file"),
    "eps.png": (eps, "cannot identify image file"),
    "folder.png": (lambda path: path.mkdir(), "it is a folder"),
    "pipe.png": (os.mkfifo, "it is a pipe; give a regular file"),
    "link_to_pipe.png": (lambda path: (os.mkfifo(path.with_name("p")), path.symlink_to("p")), "it is a pipe"),
    "device.png": (lambda path: path.symlink_to("/dev/zero"), "it is a device"),
    "gone.png": (lambda path: path.symlink_to("nowhere"), "No such file"),
    "loop.png": (lambda path: path.symlink_to("loop.png"), "symbolic links"),
    "pages.tif": (pages, r"has 2 pages \(0 to 1\)"),
    "moving.gif": (pages, "has 2 pages"),
    "moving.png": (pages, "has 2 pages"),
    "moving.webp": (pages, "has 2 pages"),
    "large.png": (
        array(np.zeros((2000, 2001), bool)),
        r"4 megapixels, more than 4; if the file can be trusted, (give max|replace)",
    ),
    "bands.tif": (bands, "save it as PNG with 8 bits"),
    "12bit.png": (
        array(DEEP[..., 0] >> 4),
        r"16 to 4079 .* 16 of 256 .*=.* \[16,4079\], or \[0,65535\]",
    ),
    "12bit_colour.png": (bgr(DEEP >> 4), "so 16 of 256 grey levels would be left"),
    "12bit_colour.tif": (bgr(DEEP >> 4), "so 16 of 256 grey levels would be left"),
    "narrow.png": (array(30_000 + (DEEP[..., 0] >> 5)), "so 8 of 256 grey levels would be left"),
    "real.tif": (array(RGB[..., 0] / np.float32(255)), r"fractions, 0\.0039\d* to 0\.99.*; give value_range="),
    "nan.tif": (array(np.full((8, 12), np.nan, np.float32)), "not finite"),
    "signed.tif": (array(RGB[..., 0].astype(np.int32) - 300), "beyond 16 bits"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_certain_picture_is_refused(tmp_path, name):
    write, says = REFUSED[name]
    write(tmp_path / name)
    for reading in (Reading(max_megapixels=4), Reading(max_megapixels=4, upright=True)):
        with pytest.raises(ConfigError, match=says) as caught:
            read_image(tmp_path / name, reading)
        assert str(tmp_path / name) in str(caught.value)


def grey(values):
    return np.repeat(values[..., None], 3, -1)


def preview(path):
    """A TIFF with an overview of itself, as maps have them."""
    first, small = Image.fromarray(RGB), Image.fromarray(RGB[::2, ::2])
    small.encoderinfo = {"tiffinfo": {254: 1}}
    first.save(path, save_all=True, append_images=[small])


CLEAR = np.dstack([RGB, RGB[..., 0]])
READ = {  # name -> how it is written, its pixels
    "plain.png": (array(RGB), RGB),
    "grey.png": (array(RGB[..., 0]), grey(RGB[..., 0])),
    "one_bit.png": (array(RGB[..., 0] > 99), grey(np.uint8(255) * (RGB[..., 0] > 99))),
    "deep.png": (array(DEEP[..., 0]), grey(RGB[..., 0])),
    "deep.tif": (array(DEEP[..., 0]), grey(RGB[..., 0])),
    "deep_colour.png": (bgr(DEEP), RGB),
    "deep_colour.tif": (bgr(DEEP), RGB),
    "deep_clear.png": (bgr(np.dstack([DEEP, DEEP[..., 0]])), RGB),
    "deep_black.png": (array(np.zeros((8, 12), np.uint16)), np.zeros((8, 12, 3), np.uint8)),
    "clear.png": (array(CLEAR), RGB),
    "clear.webp": (array(CLEAR, lossless=True, exact=True), RGB),
    "grey_clear.png": (array(CLEAR[..., :2]), grey(RGB[..., 0])),
    "palette.png": (lambda path: Image.fromarray(LABELS).save(path), grey(LABELS)),
    "preview.tif": (preview, RGB),
    "stereo.jpg": (lambda path: pages(path, format="MPO", quality=100), None),
    "print.jpg": (lambda path: Image.fromarray(RGB).convert("CMYK").save(path), None),
}


@pytest.mark.parametrize("name", READ)
def test_pictures_are_what_they_seem(tmp_path, name):
    write, wanted = READ[name]
    write(tmp_path / name)
    found = read_image(tmp_path / name)
    assert (found.dtype, found.shape) == (np.uint8, (8, 12, 3))
    if wanted is not None:
        assert np.array_equal(found, wanted)


def test_a_palette_with_transparency(tmp_path):
    palette = Image.fromarray(LABELS)
    palette.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0, 0, 0, 200])
    palette.save(tmp_path / "few.png", transparency=2)
    assert np.array_equal(read_image(tmp_path / "few.png")[0, :3], [[0, 0, 0], [200, 0, 0], [0, 200, 0]])
    assert np.array_equal(Indices()(tmp_path / "few.png"), LABELS), "as a mask: the numbers"


RANGES = {
    "12bit.png": (DEEP[..., 0] >> 4, (0, 4095)),
    "reflectance.png": ((200 + RGB[..., 0] * 12.5).astype(np.uint16), (200, 3387.5)),
    "real.tif": (RGB[..., 0] / np.float32(255), (0, 1)),
    "signed.tif": (RGB[..., 0].astype(np.int32) - 300, (-300, -45)),
}


@pytest.mark.parametrize("name", RANGES)
def test_a_range_keeps_the_grey_levels(tmp_path, name):
    values, value_range = RANGES[name]
    array(values)(tmp_path / name)
    found = read_image(tmp_path / name, Reading(value_range))
    assert np.abs(found.astype(int) - grey(RGB[..., 0])).max() <= 1
    with Image.open(tmp_path / name) as picture:
        assert np.array_equal(pixels.as_rgb(picture, "it", Reading(value_range)), found), "a PIL image is read alike"
    assert np.array_equal(read_image(tmp_path / name, Reading((value_range[0], 1e9)))[..., 0], np.zeros((8, 12)))


def test_8_bits_stay_as_they_are_whatever_the_range(tmp_path):
    array(RGB)(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png", Reading((0, 4095))), RGB)


def test_large_deep_images_are_scaled_by_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(depth, "ROWS", 3)
    assert np.array_equal(depth.to_bytes(DEEP, None, "it"), RGB)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_kind_of_file_is_turned_alike(tmp_path, monkeypatch, orientation):
    """Uncompressed TIFFs too, which PIL scrambles if it is given their name, and all of which it turns by itself."""
    exif = turned(orientation)
    array(RGB, exif=exif)(tmp_path / "a.png")
    expected = read_image(tmp_path / "a.png", UPRIGHT)
    assert (expected.shape[0] == 12) == (orientation >= 5)
    assert np.array_equal(read_image(tmp_path / "a.png"), RGB)
    assert np.array_equal(turned_array(RGB, orientation), expected)
    for options in ({}, {"compression": "tiff_lzw"}):
        array(RGB, exif=exif, **options)(tmp_path / "a.tif")
        assert np.array_equal(read_image(tmp_path / "a.tif", UPRIGHT), expected)
        assert np.array_equal(read_image(tmp_path / "a.tif"), RGB)
        assert pixels.size(tmp_path / "a.tif") == (8, 12)
    for name in ("deep.png", "deep.tif"):
        array(DEEP[..., 0], exif=exif)(tmp_path / name)
        assert np.array_equal(read_image(tmp_path / name, UPRIGHT), grey(expected[..., 0]))
        assert np.array_equal(read_image(tmp_path / name), grey(RGB[..., 0]))
    monkeypatch.setattr(pixels, "MAX_WHOLE", 0)
    monkeypatch.setattr(pixels, "BAND", 5)
    for name in ("a.png", "a.tif"):
        assert np.array_equal(read_image(tmp_path / name, UPRIGHT), expected), "the frugal way for large ones"


def turned_deep_tiff(path, orientation):
    """A TIFF of 16 bits in three channels with an orientation, which neither PIL nor OpenCV can write."""
    cv2.imwrite(str(path), DEEP[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 1])
    data = path.read_bytes()
    (place,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, place)
    tags = [struct.unpack_from("<HHII", data, place + 2 + 12 * i) for i in range(count)]
    tags = sorted([*tags, (TAG, 3, 1, orientation)])
    table = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    data += bytes(len(data) % 2)
    path.write_bytes(data[:4] + struct.pack("<I", len(data)) + data[8:] + table)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_colours_are_turned_alike(tmp_path, orientation):
    turned_deep_tiff(tmp_path / "a.tif", orientation)
    assert np.array_equal(read_image(tmp_path / "a.tif"), RGB)
    assert np.array_equal(read_image(tmp_path / "a.tif", UPRIGHT), turned_array(RGB, orientation))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "tif"])
def test_an_image_is_turned_if_its_mask_is(tmp_path, orientation, kind):
    image, mask = tmp_path / f"a.{kind}", tmp_path / "mask.png"
    array(RGB, exif=turned(orientation))(image)
    for drawn in (LABELS, turned_array(LABELS, orientation)):
        array(drawn)(mask)
        for upright in (None, False, True):
            source = FileSource([(image, mask)], 4, labels=Indices(), reading=Reading(upright=upright, option="data."))
            if upright is None and orientation in (2, 3, 4):
                with pytest.raises(ConfigError, match=r"mask fits either way; give data\.upright=true if"):
                    source.read(0)
            elif upright is None or drawn.shape == ((12, 8) if upright and orientation >= 5 else (8, 12)):
                found = source.read(0)[0]
                assert found.shape[:2] == drawn.shape == source.size(0) == source.read_mask(0)[0].shape
                if kind != "jpg":
                    as_seen = orientation >= 5 and drawn.shape == (12, 8)
                    assert np.array_equal(found, turned_array(RGB, orientation) if upright or as_seen else RGB)
            else:
                with pytest.raises(ConfigError, match=f"EXIF orientation {orientation}, and fits its mask only when"):
                    source.read(0)


def test_a_square_image_may_be_turned_either_way(tmp_path):
    array(RGB[:, :8], exif=turned(6))(tmp_path / "a.png")
    array(LABELS[:, :8])(tmp_path / "mask.png")
    source = FileSource(
        [(tmp_path / "a.png", tmp_path / "mask.png")], 4, labels=Indices(), reading=Reading(upright=None)
    )
    with pytest.raises(ConfigError, match="fits either way"):
        source.read(0)


def test_our_limit_stands_in_place_of_that_of_pil(tmp_path, monkeypatch):
    array(RGB)(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert read_image(tmp_path / "a.png").shape == (8, 12, 3)
    assert Image.MAX_IMAGE_PIXELS == 10


# Masks


def stored(bits):
    """A grey PNG of 2 or 4 bits, which PIL cannot write."""

    def write(path):
        def chunk(kind, content):
            return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

        flat = np.unpackbits(LABELS[..., None], axis=-1)[..., -bits:].reshape(8, -1)
        rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in flat)
        head = struct.pack(">IIBBBBB", 12, 8, bits, 0, 0, 0, 0)
        parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))

    return write


def palette(path, **options):
    picture = Image.fromarray(LABELS)
    picture.putpalette(list(range(200, 212)))
    picture.save(path, **options)


MASKS = {
    "plain.png": (array(LABELS), LABELS),
    "two_bits.png": (stored(2), LABELS),
    "four_bits.png": (stored(4), LABELS),
    "palette.png": (palette, LABELS),
    "palette_of_2_bits.png": (lambda path: palette(path, bits=2), LABELS),
    "one_bit.png": (array(LABELS % 2 == 1), LABELS % 2),
    "fax.tif": (array(LABELS % 2 == 1, compression="group4"), LABELS % 2),
    "plain.bmp": (array(LABELS), LABELS),
    "packed.tif": (array(LABELS, compression="tiff_lzw"), LABELS),
    "plain.gif": (array(LABELS), LABELS),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks_keep_their_numbers(tmp_path, name):
    write, wanted = MASKS[name]
    write(tmp_path / name)
    assert np.array_equal(Indices()(tmp_path / name), wanted)


REFUSED_MASKS = {
    "lossy.jpg": (array(LABELS), "is a JPEG, which changes labels"),
    "best.jpg": (array(LABELS, quality=100), "is a JPEG"),
    "jpeg.png": (array(LABELS, format="JPEG"), "is a JPEG"),
    "lossy.webp": (array(RGB), "is a lossy WebP"),
    "lossy_clear.webp": (array(CLEAR), "is a lossy WebP"),
    "inside.tif": (array(RGB, compression="jpeg"), "is a TIFF compressed as JPEG"),
    "pages.tif": (pages, "has 2 pages .* one mask of class numbers"),
    "inverse.tif": (array(LABELS, tiffinfo={262: 0}), "stores white as 0"),
    "colours.png": (array(RGB), "has mode RGB, but a mask holds one 8-bit index"),
    "clear.png": (array(CLEAR[..., :2]), "has mode LA"),
    "deep.png": (array(DEEP[..., 0]), "has mode I;16"),
    "deep_colours.png": (bgr(DEEP), "16 bits per channel"),
    "real.tif": (array(RGB[..., 0] / np.float32(255)), "has mode F"),
    "turned.png": (array(LABELS, exif=turned(6)), "has EXIF orientation 6, and a mask is read as stored"),
    "turned.tif": (array(LABELS, exif=turned(3)), "has EXIF orientation 3"),
    "pipe.png": (os.mkfifo, "it is a pipe"),
    "empty.png": (lambda path: path.write_bytes(b""), "cannot identify"),
    "renumbered.gif": (array(LABELS * 2), "is a GIF, and who writes one numbers the colours anew"),
}


@pytest.mark.parametrize("name", REFUSED_MASKS)
def test_masks_that_do_not_keep_numbers_are_refused(tmp_path, name):
    write, says = REFUSED_MASKS[name]
    write(tmp_path / name)
    with pytest.raises(ConfigError, match=says):
        Indices()(tmp_path / name)


def test_a_changed_byte_of_a_png_is_seen(tmp_path):
    """Each byte behind the signature is under a checksum; PIL looks at few of them."""
    path = tmp_path / "one.png"
    Image.fromarray(LABELS).save(path)
    data = path.read_bytes()
    for place in range(8, len(data)):
        changed = bytearray(data)
        changed[place] ^= 1
        path.write_bytes(changed)
        for read in (Indices(), read_image, Colours({(0, 0, 0): 0}, strict=False)):
            with pytest.raises(ConfigError, match=r"one\.png"):
                read(path)


def test_a_decoder_that_fails_in_its_own_words_is_one_line(tmp_path, monkeypatch):
    """The decoders of AVIF and WebP raise RuntimeError."""
    Image.fromarray(RGB).save(tmp_path / "one.png")
    monkeypatch.setattr(Image.Image, "convert", mock.Mock(side_effect=RuntimeError("Failed to decode frame 0")))
    with pytest.raises(ConfigError, match=r"cannot read .*one.png \(Failed to decode frame 0\)"):
        read_image(tmp_path / "one.png")


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_of_few_bits_has_the_colours_that_viewers_show(tmp_path, bits):
    stored(bits)(tmp_path / "grey.png")
    white = 2**bits - 1
    table = {(level, level, level): label for label in range(4) for level in [255 * label // white]}
    assert np.array_equal(Colours(table)(tmp_path / "grey.png"), LABELS)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (5, 1)])
def test_what_is_turned_can_be_a_tensor(tmp_path, turn, size):
    """NumPy calls a mirror image of a single row contiguous; torch refuses it."""
    row = RGB.reshape(-1, 3)[: size[0] * size[1]].reshape(*size, 3)
    Image.fromarray(row).save(tmp_path / "row.png", exif=turned(turn))
    found = torch.from_numpy(read_image(tmp_path / "row.png", UPRIGHT))
    assert np.array_equal(found, turned_array(row, turn))


def test_masks_in_colours(tmp_path):
    table = np.array([[0, 0, 0], [200, 0, 0], [0, 0, 200], [9, 9, 9]], np.uint8)
    read = Colours({tuple(colour): i for i, colour in enumerate(table.tolist())}, strict=False)
    shown = table[LABELS]
    array(shown, lossless=True)(tmp_path / "a.webp")
    assert np.array_equal(read(tmp_path / "a.webp"), LABELS)
    array(np.dstack([shown, np.full((8, 12), 255, np.uint8)]))(tmp_path / "opaque.png")
    assert np.array_equal(read(tmp_path / "opaque.png"), LABELS)
    array(np.dstack([shown, LABELS * 80]))(tmp_path / "clear.png")
    with pytest.raises(ConfigError, match=r"clear\.png has transparent pixels"):
        read(tmp_path / "clear.png")
    array(shown)(tmp_path / "a.jpg")
    with pytest.raises(ConfigError, match="is a JPEG"):
        read(tmp_path / "a.jpg")


def test_a_mask_has_the_limit_of_its_image(tmp_path):
    array(LABELS)(tmp_path / "a.png")
    with pytest.raises(
        ConfigError,
        match="0 megapixels, more than 1e-05; if the file can be trusted, replace the file by the published one",
    ):
        Indices(reading=Reading(max_megapixels=1e-5, option=None))(tmp_path / "a.png")


# Doors


@pytest.fixture(scope="module")
def model():
    network = create_model("ocr", backbone="tiny", num_classes=3, channels=8)
    network.classes = ClassSet.from_dict({"name": "folder", "names": NAMES, "palette": PALETTE})
    return network


def by_data(path, model, root):
    plant(root, train=1, val=1)
    (root / "images/train/train0.jpg").unlink()
    path.rename(root / f"images/train/train0{path.suffix}")
    return Folder(root=str(root)).source("train").read(0)[0]


def by_check(path, model, root):
    with suppress(ConfigError):
        by_data(path, model, root)
    seen = examine(Folder(root=str(root)).source("train"), "train", 0)
    if seen.faults and seen.faults[0].level == "error":
        raise ConfigError(seen.faults[0].text)


def by_predict(path, model, root):
    labeller, writer = Labeller(model, WholeImage(), batch_size=1, tile="none", probabilities=False), mock.Mock()
    outcome = Outcome([], [])
    reading = Reading(model.value_range, 4, upright=True)
    label_images([path], {path: "a"}, labeller, writer, outcome, mock.Mock(), FileClips([path], reading, frames=1))
    if outcome.skipped:
        raise ConfigError(outcome.skipped[0])


def by_attend(path, model, root):
    options = AttendOptions(ckpt=Path(__file__), image=path, point=(3, 3), output=root / "a.png", max_megapixels=4)
    with mock.patch.object(attend, "load_checkpoint", return_value=model):
        attend.draw(path, (3, 3), options)


DOORS = {
    "data": by_data,
    "check_data": by_check,
    "predict": by_predict,
    "attend": by_attend,
    "model.predict": lambda path, model, root: model.predict(path),
    "upload": lambda path, model, root: read_upload(path.name, path.read_bytes()),
}


CASES = ("pipe.png", "pages.tif", "12bit.png", "12bit_colour.tif", "empty.png")
EACH = [  # what is uploaded is never a pipe
    (door, name) for door in DOORS for name in CASES if (door, name) != ("upload", "pipe.png")
]


@pytest.mark.parametrize(("door", "name"), EACH)
def test_every_door_refuses(tmp_path, model, door, name):
    write, says = REFUSED[name]
    write(tmp_path / name)
    with pytest.raises(ConfigError, match=says):
        DOORS[door](tmp_path / name, model, tmp_path)


def test_a_network_reads_deep_files_as_in_training(tmp_path, model):
    array(DEEP[..., 0] >> 4)(tmp_path / "a.png")
    array(RGB)(tmp_path / "turned.jpg")
    expected = model.predict(grey(RGB[..., 0]))
    try:
        model.value_range = (0, 4095)
        for image in (tmp_path / "a.png", Image.open(tmp_path / "a.png")):
            assert torch.equal(model.predict(image), expected)
        by_predict(tmp_path / "a.png", model, tmp_path)
        by_attend(tmp_path / "a.png", model, tmp_path)
    finally:
        model.value_range = None


def test_a_refusal_names_the_attributes_of_a_network(tmp_path, model, monkeypatch):
    array(DEEP[..., 0] >> 4)(tmp_path / "a.png")
    with pytest.raises(ConfigError, match=r"give model\.value_range=\["):
        model.predict(tmp_path / "a.png")
    monkeypatch.setattr(model, "max_megapixels", 1e-6)
    with pytest.raises(ConfigError, match=r"give model\.max_megapixels=1"):
        model.predict(tmp_path / "a.png")


def test_a_pil_image_is_turned_as_its_file_is(tmp_path, model):
    array(RGB, exif=turned(6))(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        found = model.predict(picture)
    assert found.shape == (12, 8)
    assert torch.equal(found, model.predict(tmp_path / "a.png"))


def test_the_mask_of_attend_has_the_size_and_the_classes_of_its_image(tmp_path, model):
    array(RGB, exif=turned(6))(tmp_path / "a.png")
    options = AttendOptions(ckpt=tmp_path / "a.png", image=tmp_path / "a.png", point=(3, 3), output=tmp_path / "o.png")
    for mask, says in ((LABELS % 3, "mask=.* has size 12x8 and its image 8x12"), (LABELS.T + 4, "labels .* outside")):
        array(np.ascontiguousarray(mask))(tmp_path / "mask.png")
        options.mask = tmp_path / "mask.png"
        with (
            mock.patch.object(attend, "load_checkpoint", return_value=model),
            pytest.raises(ConfigError, match=says),
        ):
            attend.draw(options.image, (3, 3), options)
    assert not (tmp_path / "o.png").exists()
