"""`python -m lossatlas`."""

from lossatlas.cli import main

raise SystemExit(main())
