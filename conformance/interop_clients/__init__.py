"""What the interop check is made of: three clients behind one interface, a tap on the wire, the checks."""
