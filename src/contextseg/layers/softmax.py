"""The softmax over classes, in place."""

from torch import Tensor


def softmax_(logits: Tensor) -> Tensor:
    """Compute `logits.softmax(1)` of logits (B, K, h, w), on a CPU in their own memory, and return it.

    A softmax of torch over a middle dimension goes through a CPU's memory by single values; each step here goes along
    it.
    """
    if logits.device.type != "cpu":
        return logits.softmax(1)
    logits -= logits.amax(1, keepdim=True)
    logits.exp_()
    logits /= logits.sum(1, keepdim=True)
    return logits
