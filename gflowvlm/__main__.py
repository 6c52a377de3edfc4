"""Lets `python -m gflowvlm` do what the `gflowvlm` command does."""

import sys

from gflowvlm.cli import main

if __name__ == "__main__":
    sys.exit(main())
