"""Make a ready data set of its official archives:  python src/prepare.py data=cityscapes source=FOLDER"""

from contextseg.cli import command


@command("prepare")
def prepare(cfg):
    from contextseg.prepare.command import prepare as work

    work(cfg)


if __name__ == "__main__":
    prepare()
