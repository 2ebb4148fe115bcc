"""The loaders of images with instances."""

import numpy as np
import torch
from lightning import LightningDataModule
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from contextseg.data.sampler import Key, KeyedBatchSampler, StridedEvalSampler
from contextseg.instances.target import Instances, InstanceSource, as_tensors, for_training

Sample = tuple[Tensor, dict[str, Tensor]]  # image float32 (3, H, W) in 0..1, target


class InstanceDataset(Dataset):
    """Read samples by key (epoch, index); `seed`: for training, with every other image mirrored at random."""

    def __init__(self, source: InstanceSource, seed: int | None = None):
        self.source, self.seed = source, seed

    def __getitem__(self, key: Key) -> Sample:
        """Read a sample."""
        epoch, index = key
        image, instances = self.source.read(index)
        if self.seed is not None:
            instances = for_training(instances)
            if np.random.default_rng([self.seed, epoch, index]).random() < 0.5:
                image, instances = mirrored(image, instances)
        return torch.from_numpy(image.transpose(2, 0, 1).copy()).float() / 255, as_tensors(instances)


def mirrored(image: NDArray, instances: Instances) -> tuple[NDArray, Instances]:
    """Mirror an image (H, W, 3) and its instances, left to right."""
    return image[:, ::-1], instances._replace(masks=instances.masks[:, :, ::-1].copy())


def together(samples: list[Sample]) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Put samples of any sizes into a batch: images and targets."""
    images, targets = zip(*samples, strict=True)
    return list(images), list(targets)


class InstanceData(LightningDataModule):
    """Load `batch_size` images per step over all processes for training, and each image once for validation."""

    def __init__(
        self,
        train: InstanceSource | None,
        val: InstanceSource,
        *,
        batch_size: int,
        max_steps: int,
        seed: int = 0,
        num_workers: int = 0,
    ):
        super().__init__()
        self.train, self.val, self.seed = train, val, seed
        self.batch_size, self.max_steps, self.num_workers = batch_size, max_steps, num_workers

    def _place(self) -> dict[str, int]:
        trainer = self.trainer
        return (
            {"rank": trainer.global_rank, "world_size": trainer.world_size} if trainer else {"rank": 0, "world_size": 1}
        )

    def train_dataloader(self) -> DataLoader:
        """Load the training stream."""
        assert self.train is not None
        sampler = KeyedBatchSampler(
            length=len(self.train),
            batch_size=self.batch_size,
            seed=self.seed,
            num_batches=self.max_steps,
            **self._place(),
        )
        return self._loader(InstanceDataset(self.train, self.seed), sampler)

    def val_dataloader(self) -> DataLoader:
        """Load the validation split."""
        place = self._place()
        sampler = StridedEvalSampler(length=len(self.val), rank=place["rank"], world_size=place["world_size"])
        return self._loader(InstanceDataset(self.val), sampler)

    def _loader(self, dataset: InstanceDataset, sampler: KeyedBatchSampler | StridedEvalSampler) -> DataLoader:
        return DataLoader(dataset, batch_sampler=sampler, num_workers=self.num_workers, collate_fn=together)
