"""Label images:  python src/predict.py ckpt=FILE input=FOLDER output=FOLDER   (--help lists the groups)"""

from contextseg.cli import command


@command("predict")
def predict(cfg):
    from contextseg.predict import predict as work

    work(cfg)


if __name__ == "__main__":
    predict()
