"""Images per second of the scene generator and of the training loaders: python benchmarks/loader.py [CAMVID_ROOT]"""

import sys
import time

from contextseg.data.transforms import TrainTransform
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


def main() -> None:
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
