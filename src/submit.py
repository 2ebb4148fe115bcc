"""`contextseg submit` from a checkout:  python src/submit.py --help"""

from contextseg.commands.__main__ import main

if __name__ == "__main__":
    main("submit")
