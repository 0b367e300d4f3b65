"""`python -m openqueue` is the command `openqueue`."""

from openqueue.cli.main import main

if __name__ == "__main__":
    main()
