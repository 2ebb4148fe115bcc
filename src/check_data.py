"""`contextseg check_data` from a checkout:  python src/check_data.py --help"""

from contextseg.commands.__main__ import main

if __name__ == "__main__":
    main("check_data")
