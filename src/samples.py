"""`contextseg samples` from a checkout:  python src/samples.py --help"""

from contextseg.commands.__main__ import main

if __name__ == "__main__":
    main("samples")
