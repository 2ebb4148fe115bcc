"""Score a checkpoint:  python src/evaluate.py ckpt=FILE split=test   (--help lists the groups)"""

from contextseg.cli import command


@command("evaluate")
def evaluate(cfg):
    from contextseg.run import evaluate as work

    work(cfg)


if __name__ == "__main__":
    evaluate()
