"""Scores of PASCAL-Context: on 59 classes or on 60, with the background; papers mix both, and a third number."""

from torch import Tensor

from contextseg.classes import ClassSet


def other_means(iou: Tensor, classes: ClassSet) -> dict[str, float]:
    """Compute other means than that over all classes from the IoU by class (K,); {} but for PASCAL-Context.

    miou_59_of_60            x 59/60, of a network with 59 classes: how EncNet states its score on 60 classes, with the
                             background as a class of IoU 0 (its author in PyTorch-Encoding, issue 179). Not the
                             protocol of 60 classes: there, background predicted as a class lowers that class too
    miou_without_background  over the 59 others, of a network with 60 classes. Not the protocol of 59 classes: there
                             the background is void, and no pixel can be predicted as it
    """
    if classes.name == "pascal_context_59":
        return {"miou_59_of_60": iou.nanmean().item() * 59 / 60}
    if classes.name == "pascal_context_60":
        return {"miou_without_background": iou[1:].nanmean().item()}
    return {}
