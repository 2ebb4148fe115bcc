"""The one home of IoU and of the rule which classes its mean is over."""

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

Array = TypeVar("Array", "NDArray[Any]", "Tensor")


def iou(right: Array, truth: Array, predicted: Array) -> Array:
    """Compute the IoU in percent from pixel counts of any one shape: right ones, those of the truth, those predicted.

    It is NaN for a class that is neither in the truth nor in the prediction; a mean omits it. A class that is only
    predicted has IoU 0 and enters. Takes arrays and tensors of floats; NumPy warns of 0/0 unless told not to.
    """
    return 100 * right / (truth + predicted - right)
