"""`contextseg convert` from a checkout:  python src/convert.py --help"""

from contextseg.commands.__main__ import main

if __name__ == "__main__":
    main("convert")
