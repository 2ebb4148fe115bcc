"""`contextseg faithfulness` from a checkout:  python src/faithfulness.py --help"""

from contextseg.commands.__main__ import main

if __name__ == "__main__":
    main("faithfulness")
