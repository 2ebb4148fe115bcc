"""Names of classes are drawn as they are written, or it is said that they cannot be."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from contextseg import lettering, viz
from contextseg.classes import ClassSet

NAMES = ("[void]", "a$b$c", "x|y <b>", "Straße", "天空")


CACHED = (lettering.font_file, lettering.font, lettering.drawable)


@pytest.fixture(autouse=True)
def fresh():
    for function in CACHED:
        function.cache_clear()
    yield
    for function in CACHED:
        function.cache_clear()


def test_a_name_without_a_font_is_the_number_of_its_class(monkeypatch, caplog):
    monkeypatch.setattr(lettering, "font_file", lambda text: None)
    assert lettering.names_of_classes(NAMES) == [*NAMES[:4], "class 4"]
    (said,) = [record.getMessage() for record in caplog.records]
    assert "'class 4' for '天空': no installed font has its letters" in said
    assert lettering.axis_labels(NAMES)["labels"][4] == "class 4"


def test_a_font_that_has_the_letters_is_found():
    text = "Ωж"  # matplotlib's own has them, PIL's has not
    assert lettering.font_file(text).name == "DejaVuSans.ttf"
    assert lettering.font(text).getname()[0] == "DejaVu Sans"
    assert lettering.names_of_classes([text]) == [text]


def test_boxes_are_no_letters():
    nobody = chr(0x10FFFD)  # for private use: only the last resort of matplotlib has it
    assert lettering.font_file(nobody) is None
    assert lettering.names_of_classes([nobody]) == ["class 0"]


def test_signs_of_formulas_are_letters():
    figure = Figure()
    axes = figure.add_subplot()
    axes.set_xticks(range(4), **lettering.axis_labels(NAMES[:4]))
    assert [label.get_text().replace("\\$", "$") for label in axes.get_xticklabels()] == list(NAMES[:4])
    parsed = [label._preprocess_math(label.get_text()) for label in axes.get_xticklabels()]
    assert parsed == [(name, False) for name in NAMES[:4]]


def test_all_pictures_take_such_names(tmp_path):
    classes = ClassSet("odd", NAMES, tuple((i, i, i) for i in range(5)))
    assert viz.legend(classes).shape[2] == 3
    assert viz.caption(np.zeros((9, 9, 3), np.uint8), "天空\nb").shape[2] == 3
    viz.confusion_picture(np.eye(5), classes, tmp_path / "confusion.png")
    scores = {"iou": [50.0] * 5, "acc": [50.0] * 5, "miou": 50.0, "mean_acc": 50.0, "pix_acc": 50.0, "classes_used": 5}
    viz.per_class_picture(scores, classes, tmp_path / "per_class.png")
