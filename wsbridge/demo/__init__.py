"""What ``python3 -m wsbridge`` serves when no application is named, and an example of one."""
