"""Images per second of the scene generator and of the training loaders: python benchmarks/loader.py [CAMVID_ROOT]"""

import statistics
import sys
import time

import cv2
import numpy as np

from contextseg.data.transforms import A, TrainTransform
from contextseg.datamodules.camvid import CamVid
from contextseg.datamodules.context_scenes import ContextScenes, draw_scene
from contextseg.datamodules.datamodule import SegDataModule


def generator(count: int = 300) -> float:
    """Return the images per CPU second of one core."""
    draw_scene(0, 0)  # builds the texture bank
    start = time.process_time()
    for index in range(count):
        draw_scene(1, index)
    return count / (time.process_time() - start)


def loader(data: SegDataModule, num_batches: int, *, warm_up: int = 4) -> float:
    """Return the images per second of wall time, after the workers have started."""
    data.set_stream(seed=0, num_batches=num_batches + warm_up)
    batches = iter(data.train_dataloader())
    for _ in range(warm_up):
        next(batches)
    start = time.perf_counter()
    count = sum(len(batch.name) for batch in batches)
    return count / (time.perf_counter() - start)


def transforms(size: tuple[int, int] = (1024, 2048), crop: int = 512, count: int = 40) -> None:
    """Print the milliseconds of training transforms, as one warp and as the chain of the same steps, interleaved."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 256, (size[0] // 16, size[1] // 16, 3), np.uint8), size[::-1])
    mask = np.repeat(np.repeat(rng.integers(0, 19, (size[0] // 32, size[1] // 32), np.uint8), 32, 0), 32, 1)
    colour = {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.02}
    for name, settings in (
        ("scale, crop, flip", {}),
        ("scale, rotate, crop, flip", {"rotate": 10}),
        ("scale, rotate, crop, colour, flip", {"rotate": 10, **colour}),
    ):
        one, chain = (TrainTransform(scale=(0.5, 2.0), crop_size=crop, **settings) for _ in range(2))
        warp, *others = chain.compose.transforms
        chain.compose = A.Compose([*warp.steps, *others])
        times: dict[str, list[float]] = {"one warp": [], "chain": []}
        for index in range(count):
            for way, transform in (("one warp", one), ("chain", chain)):
                start = time.perf_counter()
                transform(image, mask, (0, 0, index))
                times[way].append(1000 * (time.perf_counter() - start))
        for way, values in times.items():
            print(f"{name + ', ' + way:<44}{statistics.median(values):8.2f} ms")


def main() -> None:
    transforms()
    print(f"{'generator, one core':<32}{generator():8.0f} images/s")
    for workers in (0, 1, 2):
        loading = {"batch_size": 8, "num_workers": workers}
        for label, size in (("drawing", 2000), ("kept", 32)):
            scenes = ContextScenes(train_size=size, transform=TrainTransform(flip=0.5), **loading)
            print(f"{f'context_scenes, {label}, {workers} workers':<32}{loader(scenes, 60):8.0f} images/s")
        if len(sys.argv) > 1:
            colour = {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.02}
            transform = TrainTransform(scale=[0.5, 2.0], crop_size=[288, 384], **colour)
            camvid = CamVid(root=sys.argv[1], transform=transform, **loading)
            print(f"{f'camvid, {workers} workers':<32}{loader(camvid, 20):8.0f} images/s")


if __name__ == "__main__":
    main()
