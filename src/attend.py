"""Draw where the context of a pixel came from:  python src/attend.py ckpt=FILE image=FILE point=[x,y]"""

from contextseg.cli import command


@command("attend")
def attend(cfg):
    from contextseg.attend import attend as work

    work(cfg)


if __name__ == "__main__":
    attend()
