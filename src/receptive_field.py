"""`contextseg receptive_field` from a checkout:  python src/receptive_field.py --help"""

from contextseg.commands.__main__ import main

if __name__ == "__main__":
    main("receptive_field")
