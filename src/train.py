"""`contextseg train` from a checkout:  python src/train.py --help"""

from contextseg.commands.__main__ import main

if __name__ == "__main__":
    main("train")
