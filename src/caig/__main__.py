"""`python -m caig` is `caig`."""

from caig.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
