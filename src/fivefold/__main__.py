"""``python -m fivefold`` is the same as ``fivefold``."""

from fivefold.cli import main

if __name__ == "__main__":
    main()
