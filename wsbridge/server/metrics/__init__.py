"""What the server itself answers: metrics, and its health."""
