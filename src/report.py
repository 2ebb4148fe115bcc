"""The papers' tables beside our runs, mean ± sd over seeds:  python src/report.py runs=FOLDER"""

from contextseg.cli import command


@command("report")
def report(cfg):
    from contextseg.report.command import report as work

    work(cfg)


if __name__ == "__main__":
    report()
