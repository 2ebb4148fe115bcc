"""`python -m contextseg COMMAND ...`"""

from contextseg.commands.__main__ import main

if __name__ == "__main__":
    main()
