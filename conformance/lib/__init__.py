"""What the checks with real frameworks and real clients share."""
