"""`python -m linalign`."""

import sys

from .cli import main

sys.exit(main())
