"""Controls of attention: the same head and the same parameters, trained without what attention is said to do.

    learned  the head as it is
    uniform  scores are multiplied by zero before their softmax: content decides nothing. What remains is the mean over
             all that the head may see: the map, the cross, the regions. CPNet's prior, a sigmoid, is 1/2 everywhere
    local    content decides, but sees little: the context part runs on each window of `SIDE` x `SIDE` places as if it
             were a map of its own

A head that loses nothing by `uniform` needs no choice between places; one that loses nothing by `local` needs no
distant ones. Both have every parameter of the head, so width is not the reason.
"""

from contextseg.contract import Head
from contextseg.errors import ConfigError
from contextseg.layers.attention_tap import AttentionTap

ATTENTIONS = ("learned", "uniform", "local")
SIDE = 6  # places; a 3 x 3 convolution sees half as far


def control(head: Head, attention: str) -> None:
    """Set how the attention of a head works, one of `ATTENTIONS`.

    Raises `ConfigError` for a head that has no attention, or none that can be made local.
    """
    name = type(head).__name__
    if attention == "uniform":
        weights = [tap for tap in head.modules() if isinstance(tap, AttentionTap) and tap.levels]
        if not weights or head.needs_mask:
            raise ConfigError(f"attention=uniform: {name} has no learnt attention weights; use attention=learned")
        for tap in weights:
            tap.uniform = True
    elif attention == "local":
        if not head.can_be_local:
            raise ConfigError(
                f"attention=local: the context of {name} is not made from places that a window could bound; use "
                "attention=learned or uniform"
            )
        head.local_side = SIDE
    elif attention != "learned":
        raise ConfigError(f"attention={attention}: choose {', '.join(ATTENTIONS)}")
