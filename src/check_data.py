"""Check a data set:  python src/check_data.py data=folder data.root=FOLDER   (--help lists the groups)"""

from contextseg.cli import command


@command("check_data")
def check_data(cfg):
    from contextseg.check_data import check_data as work

    if not work(cfg).trainable:
        raise SystemExit(1)


if __name__ == "__main__":
    check_data()
