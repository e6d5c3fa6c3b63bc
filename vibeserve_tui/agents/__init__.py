"""What answers behind a role: one provider a file, all with the same protocol (`protocol.py`)."""
