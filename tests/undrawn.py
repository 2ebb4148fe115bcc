"""`contextseg.viz` whose pictures of tables are one pixel: matplotlib takes half of the time of a short run."""

from types import SimpleNamespace

from PIL import Image

from contextseg import viz as drawn


def blank(_, classes, path):
    Image.new("RGB", (1, 1)).save(path)


viz = SimpleNamespace(**vars(drawn) | {"confusion_picture": blank, "per_class_picture": blank})
