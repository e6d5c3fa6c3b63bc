"""Language models in a process of our own: two backends behind one small protocol, and actions forced into a grammar."""
