"""`python -m opslab`."""

import sys

from opslab import cli

sys.exit(cli.main())
