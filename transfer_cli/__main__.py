"""`python -m transfer_cli` is `transfer-run`."""

import sys

from transfer_cli.cli import main

sys.exit(main())
