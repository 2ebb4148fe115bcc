"""Look into Person (single person), 20 body parts and clothes: 30,462 train, 10,000 val, 10,000 test images."""

from collections.abc import Mapping

from contextseg.classes import class_set
from contextseg.data.labels import Indices
from contextseg.data.source import FileSource
from contextseg.datamodules.published import Published

WANTED = "the masks are the grey PNGs with 0..19 of TrainVal_parsing_annotations"
LABELS = Indices({label: label for label in range(20)}, strict=True, wanted=WANTED)


class LIP(Published):
    """Read {train,val}_images/ and {train,val}_segmentations/; test images: test_images/.

    Background is a class. A mirror image exchanges left and right limbs (`classes.flip_pairs`), so the reversed masks
    of the release are not used. Labels of the test split are kept back. Settings as in `Published`.
    """

    name = "lip"
    title = "LIP"
    classes = class_set("lip")
    submission = "lip"
    expected = "{train,val}_images/<id>.jpg and {train,val}_segmentations/<id>.png"
    folders = ("LIP", "lip")
    counts: Mapping[str, tuple[int, ...]] = {"train": (30462,), "val": (10000,), "test": (10000,)}
    test = "test_images"

    def open(self, split: str) -> FileSource:
        if split == "test":
            return self.unlabelled(self.find(self.test))
        images = self.find(f"{split}_images", f"TrainVal_images/{split}_images")
        masks = self.find(f"{split}_segmentations", f"TrainVal_parsing_annotations/{split}_segmentations")
        return self.pair(split, images, masks, LABELS)
