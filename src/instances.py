"""`contextseg instances` from a checkout:  python src/instances.py --help"""

from contextseg.commands.__main__ import main

if __name__ == "__main__":
    main("instances")
