"""`contextseg features` from a checkout:  python src/features.py --help"""

from contextseg.commands.__main__ import main

if __name__ == "__main__":
    main("features")
