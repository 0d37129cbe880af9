"""``python -m harness`` is the command `squall`."""

import sys

from harness.cli import main

sys.exit(main())
