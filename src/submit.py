"""Label maps for a test server, ready to upload:  python src/submit.py ckpt=FILE output=FOLDER   (--help: groups)"""

from contextseg.cli import command


@command("submit")
def submit(cfg):
    from contextseg.submit.command import submit as work

    work(cfg)


if __name__ == "__main__":
    submit()
