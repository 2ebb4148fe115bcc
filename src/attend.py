"""`contextseg attend` from a checkout:  python src/attend.py --help"""

from contextseg.commands.__main__ import main

if __name__ == "__main__":
    main("attend")
