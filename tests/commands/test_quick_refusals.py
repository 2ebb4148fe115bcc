"""A mistake in a command line is refused before anything heavy is imported."""

import subprocess
import sys

from harness import subprocess_environment

HEAVY = {
    "torch",
    "torchvision",
    "lightning",
    "timm",
    "matplotlib",
    "PIL",
    "cv2",
    "scipy",
    "albumentations",
    "starlette",
}
MISTAKES = {
    "predict": [["ckpt=nope.ckpt", "input=nope", "output=x"], ["ckpt=x.ckpt", "input=nope", "output=x"]],
    "attend": [["ckpt=x.ckpt", "image=x.ckpt"]],
    "convert": [["from=nope", "input=x.ckpt", "output=y.ckpt"]],
    "prepare": [["data=lip"], ["data=folder", "source=."]],
    "check_data": [["splits=[nope]"]],
    "samples": [["count=0"]],
    "instances": [["context=nope"], ["images=x.ckpt"], ["ckpt=nope.ckpt"], ["source=coco_instances", "root=nope"]],
    "attention_statistics": [["ckpt=nope.ckpt", "output=x"]],
    "receptive_field": [["ckpt=nope.ckpt", "output=x"], ["ckpt=x.ckpt", "output=x.png"]],
    "faithfulness": [["ckpt=nope.ckpt", "output=x"], ["ckpt=x.ckpt", "output=x.png"]],
    "report": [["runs=nope"]],
}
SCRIPT = """
import sys
from contextseg.commands.__main__ import main
for name, lines in {mistakes}.items():
    for words in lines:
        try:
            main(name, words)
        except SystemExit as end:
            assert end.code == 2, (name, words, end.code)
        print(name, *sorted({heavy} & sys.modules.keys()))
"""


def test_a_mistake_is_refused_without_heavy_imports(tmp_path):
    """One process for all: the first command that imports something heavy is named by the first wrong line."""
    (tmp_path / "x.ckpt").touch()
    command = [sys.executable, "-c", SCRIPT.format(mistakes=MISTAKES, heavy=HEAVY)]
    done = subprocess.run(command, cwd=tmp_path, env=subprocess_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [name for name, lines in MISTAKES.items() for _ in lines]
    assert done.stderr.count("error: ") == len(done.stdout.splitlines()), done.stderr
