"""Models in a process of our own: two backends, actions forced into a grammar."""
