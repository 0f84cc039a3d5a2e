"""``python -m theorylab`` is the ``theorylab`` command."""

from theorylab.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
