"""`contextseg compare` from a checkout:  python src/compare.py --help"""

from contextseg.commands.__main__ import main

if __name__ == "__main__":
    main("compare")
