"""`python -m luthier`: the same as the program `luthier`."""

from luthier.cli.app import main

if __name__ == "__main__":
    main()
