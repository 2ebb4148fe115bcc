"""Draw where the context of a pixel came from:  python src/attend.py ckpt=FILE image=FILE point=[x,y]

On a local page, by clicks, for one checkpoint or two:  python src/attend.py ckpt=FILE serve=true [ckpt2=FILE]
"""

from contextseg.cli import command


@command("attend")
def attend(cfg):
    from contextseg.attend import attend as work

    work(cfg)


if __name__ == "__main__":
    attend()
