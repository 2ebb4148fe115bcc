"""`contextseg attention_statistics` from a checkout:  python src/attention_statistics.py --help"""

from contextseg.commands.__main__ import main

if __name__ == "__main__":
    main("attention_statistics")
