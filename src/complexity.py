"""`contextseg complexity` from a checkout:  python src/complexity.py --help"""

from contextseg.commands.__main__ import main

if __name__ == "__main__":
    main("complexity")
