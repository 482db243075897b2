"""One module per concept, one named function per statement, the reason beside it."""
