"""`contextseg report` from a checkout:  python src/report.py --help"""

from contextseg.commands.__main__ import main

if __name__ == "__main__":
    main("report")
