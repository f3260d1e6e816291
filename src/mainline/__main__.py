"""`python -m mainline`."""

from mainline.cli import main

main()
