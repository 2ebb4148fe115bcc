"""What the frozen maps hold without a head: a linear classifier of each place, on the last map and on all of them.

    python benchmarks/linear_probe.py PATH      # the CamVid folder of data=camvid; a few minutes

Every 6th image of train (62) and every 4th of val (26), `efficientnet_lite0` at output stride 8, finer maps averaged
down to it; cross-entropy at every second pixel, 40 epochs of AdamW, maps scaled to mean 0 and variance 1.
"""

import sys

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from contextseg.backbones.timm_features import TimmBackbone
from contextseg.datamodules.camvid import CamVid

EPOCHS, BATCH = 40, 8


def maps(data: CamVid, backbone: nn.Module, split: str, step: int) -> tuple[list[Tensor], Tensor]:
    """Return the maps of every `step`-th image, each (N, C, h, w) at the last one's size, and the masks (N, H, W)."""
    found, masks = [], []
    for index in range(0, len(data.source(split)), step):
        image, mask, _ = data.source(split).read(index)
        with torch.no_grad():
            out = backbone(torch.from_numpy(image).permute(2, 0, 1).unsqueeze(0).float())
        found.append([F.adaptive_avg_pool2d(one, out[-1].shape[-2:]) for one in out])
        masks.append(torch.from_numpy(mask).long())
    return [torch.cat(level) for level in zip(*found, strict=True)], torch.stack(masks)


def probe(train: tuple[Tensor, Tensor], val: tuple[Tensor, Tensor], kernel: int, classes: int) -> float:
    """Train one convolution from maps to classes and return its mIoU on val, in percent."""
    torch.manual_seed(0)
    linear = nn.Conv2d(train[0].shape[1], classes, kernel, padding=kernel // 2)
    optimizer = torch.optim.AdamW(linear.parameters(), lr=1e-2 if kernel == 1 else 3e-3)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(train[0])).split(BATCH):
            labels = train[1][batch][:, ::2, ::2]
            logits = F.interpolate(linear(train[0][batch]), labels.shape[-2:], mode="bilinear")
            loss = F.cross_entropy(logits, labels, ignore_index=255)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    counts = torch.zeros(classes, classes)
    with torch.no_grad():
        for one, mask in zip(*val, strict=True):
            label = F.interpolate(linear(one[None]), mask.shape, mode="bilinear").argmax(1)[0]
            known = mask != 255
            counts += torch.bincount(mask[known] * classes + label[known], minlength=classes**2).view(classes, classes)
    return 100 * (counts.diag() / (counts.sum(0) + counts.sum(1) - counts.diag())).mean().item()


def main(root: str) -> None:
    data = CamVid(root=root)
    backbone = TimmBackbone("tf_efficientnet_lite0", weights="imagenet").eval()
    train, val = maps(data, backbone, "train", 6), maps(data, backbone, "val", 4)
    mean = [level.mean((0, 2, 3), keepdim=True) for level in train[0]]
    sd = [level.std((0, 2, 3), keepdim=True) for level in train[0]]
    scaled = [[(x - m) / s for x, m, s in zip(levels, mean, sd, strict=True)] for levels, _ in (train, val)]
    for name, chosen in (("last map", slice(-1, None)), ("all four maps", slice(None))):
        inputs = [torch.cat(levels[chosen], 1) for levels in scaled]
        for kernel in (1, 3):
            score = probe((inputs[0], train[1]), (inputs[1], val[1]), kernel, len(data.classes))
            print(f"| {name} | {kernel} x {kernel} | {inputs[0].shape[1]} | {score:.1f} |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        main(sys.argv[1])
    else:
        print("linear_probe.py needs the CamVid folder: python benchmarks/linear_probe.py PATH")
