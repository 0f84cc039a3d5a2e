"""Placeholder until the command lands."""


def main() -> int:
    """Run the command."""
    return 0
