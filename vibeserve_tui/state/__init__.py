"""Whatever must survive a crash: the journal, the run directory, the git store, the board and the memory."""
