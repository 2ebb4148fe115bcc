"""`contextseg predict` from a checkout:  python src/predict.py --help"""

from contextseg.commands.__main__ import main

if __name__ == "__main__":
    main("predict")
