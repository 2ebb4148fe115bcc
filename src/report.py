"""Tabulate runs, mean ± sd over seeds:  python src/report.py runs=FOLDER output=TABLE.md"""

from contextseg.cli import command


@command("report")
def report(cfg):
    from contextseg.report import report as work

    work(cfg)


if __name__ == "__main__":
    report()
