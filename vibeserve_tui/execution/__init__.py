"""Whatever runs code nobody wrote by hand: the launcher, its boxes, the candidate under test."""
