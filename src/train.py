"""Train:  python src/train.py head=ocr data=context_scenes   (--help lists the groups)"""

from contextseg.cli import command


@command("train")
def train(cfg):
    from contextseg.run import fit

    fit(cfg)


if __name__ == "__main__":
    train()
