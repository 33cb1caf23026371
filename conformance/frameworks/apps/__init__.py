"""One application for each framework; all do the same, see behaviours.py."""

# How a line begins by which an application tells the check what it saw.
MARK = "\x1eSEEN "

LONG_REASON = 42 * "€"  # 126 bytes; 123 fit into a CLOSE
