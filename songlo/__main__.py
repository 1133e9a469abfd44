"""`python -m songlo`: the same as the `songlo` command."""

from songlo.cli import main

main()
