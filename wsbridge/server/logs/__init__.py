"""The lines that the server logs, and how they are printed."""
