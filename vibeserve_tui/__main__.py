"""`python -m vibeserve_tui` is the command line."""

import sys

from vibeserve_tui.cli import main

if __name__ == "__main__":
    sys.exit(main())
