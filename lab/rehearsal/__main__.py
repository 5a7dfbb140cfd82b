"""``python -m lab.rehearsal``: the week from the command line (``make rehearsal``)."""

from __future__ import annotations

import sys

from lab.rehearsal.week import main

sys.exit(main())
