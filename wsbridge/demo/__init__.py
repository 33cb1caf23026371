"""What ``python3 -m wsbridge`` serves without arguments, or with ``--demo``, and an example of one."""
