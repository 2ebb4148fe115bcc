"""`contextseg prepare` from a checkout:  python src/prepare.py --help"""

from contextseg.commands.__main__ import main

if __name__ == "__main__":
    main("prepare")
