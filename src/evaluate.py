"""`contextseg evaluate` from a checkout:  python src/evaluate.py --help"""

from contextseg.commands.__main__ import main

if __name__ == "__main__":
    main("evaluate")
