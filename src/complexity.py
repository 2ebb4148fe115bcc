"""What a network costs:  python src/complexity.py head=ocr backbone=resnet101 size=[512,1024] classes=19

A paper's table, ours beside the published figures:  python src/complexity.py table=ocr_t4
"""

from contextseg.cli import command


@command("complexity")
def complexity(cfg):
    from contextseg.complexity.command import complexity as work
    from contextseg.complexity.command import given

    work(cfg, given())


if __name__ == "__main__":
    complexity()
