"""Label images and videos:  python src/predict.py ckpt=FILE input=FOLDER output=FOLDER   (--help lists the groups)"""

from contextseg.cli import command, refuse


@command("predict")
def predict(cfg):
    from contextseg.predict.command import predict as work

    if skipped := work(cfg).skipped:
        refuse(f"{len(skipped)} of the inputs skipped: " + "; ".join(skipped))
        raise SystemExit(1)


if __name__ == "__main__":
    predict()
