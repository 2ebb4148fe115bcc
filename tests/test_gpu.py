"""What only a CUDA device can show: `pytest -m gpu`. Everything else is tested without one."""

import json

import pytest
import torch
from harness import SMALL, PowerCut, disturb

from contextseg.commands.compose import compose
from contextseg.commands.evaluate.command import evaluate
from contextseg.commands.train.command import train
from contextseg.commands.train.options import checked
from contextseg.engine import build

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")]

PAPERS = ("ctnet", "agln", "cpnet", "ocr", "ccnet")
ON_GPU = [word for word in SMALL if not word.startswith(("head=", "trainer=", "trainer.precision"))] + ["trainer=gpu"]


def run(folder, *words):
    return train(compose([*ON_GPU, f"paths.runs={folder}", *words]))


def metrics(result):
    return json.loads((result.folder / "metrics.json").read_text())


@pytest.mark.parametrize("head", PAPERS)
def test_logits_and_gradients_are_those_of_the_cpu(head):
    options, _ = checked(compose([*SMALL[1:], f"head={head}", "trainer.channels_last=false"]))
    data = build.datamodule(options)
    network, _ = build.network(options, data.classes)
    network.eval()
    image = torch.randint(0, 256, (2, 3, 80, 80), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = []
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    for device in ("cpu", "cuda"):
        network.to(device).zero_grad()
        logits = network(image.to(device)).logits
        logits.square().mean().backward()
        gradient = torch.cat([p.grad.flatten().cpu() for p in network.head.parameters() if p.grad is not None])
        found.append((logits.detach().cpu(), gradient))
    for cpu, cuda in zip(*found, strict=True):
        assert (cpu - cuda).norm() <= 1e-4 * cpu.norm()


@pytest.mark.parametrize("head", PAPERS)
@pytest.mark.parametrize("precision", ["32", "bf16", "16"])
def test_training_and_evaluation(head, precision, tmp_path):
    result = run(tmp_path, f"head={head}", f"trainer.precision={precision}")
    assert metrics(result)["status"] == "finished"
    (again,) = evaluate(compose([f"ckpt={result.folder}/checkpoints/last.ckpt", f"paths.runs={tmp_path}"], "evaluate"))
    assert abs(metrics(again)["miou"] - metrics(result)["miou"]) < 1e-6


def test_a_network_trained_on_a_gpu_scores_alike_on_the_cpu(tmp_path):
    result = run(tmp_path, "head=ocr", "trainer.precision=32")
    words = [f"ckpt={result.folder}/checkpoints/last.ckpt", f"paths.runs={tmp_path}", "trainer=cpu"]
    (again,) = evaluate(compose(words, "evaluate"))
    assert abs(metrics(again)["pix_acc"] - metrics(result)["pix_acc"]) < 0.2  # pixels of two equal scores


def test_a_restart_goes_on_bit_for_bit(tmp_path):
    words = ("head=fcn", "trainer.precision=bf16", "trainer.deterministic=warn")
    whole = run(tmp_path / "a", *words)
    with pytest.raises(PowerCut):
        run(tmp_path / "b", *words, disturb(7))
    half = run(tmp_path / "b", *words, "resume=auto")
    for one, other in zip(whole.module.parameters(), half.module.parameters(), strict=True):
        assert torch.equal(one.cpu(), other.cpu())


@pytest.mark.parametrize("compiled", ["inductor", "aot_eager"])
def test_compiled(compiled, tmp_path):
    assert metrics(run(tmp_path, "head=ocr", f"trainer.compile={compiled}"))["status"] == "finished"


def test_maps_of_a_gpu_are_those_of_the_cpu_but_for_rounding(tmp_path):
    words = ("head=fcn", "backbone.freeze=true", "features.whole=true", "data.num_workers=0")
    scores = {}
    for device in ("cpu", "gpu"):
        result = run(tmp_path / device, *words, f"features.cache={tmp_path}/{device}_maps", f"trainer={device}")
        maps = result.datamodule.features
        scores[device] = [maps.maps(result.datamodule.source("train"), index, False) for index in range(4)]
    for cpu, gpu in zip(scores["cpu"], scores["gpu"], strict=True):
        for one, other in zip(cpu, gpu, strict=True):
            assert (one - other).norm() <= 1e-5 * one.norm()


def test_one_process_with_nccl_and_synchronised_batch_norm(tmp_path):
    words = ("head=ocr", "trainer=ddp", "trainer.devices=1", "trainer.sync_batchnorm=true")
    assert metrics(run(tmp_path, *words, "+trainer.lightning.strategy=ddp"))["status"] == "finished"
