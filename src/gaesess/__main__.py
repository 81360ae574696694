"""`python -m gaesess`."""

import sys

from gaesess.cli import main

sys.exit(main())
