"""SQL statements: a module per concept, and a named function per statement, with its reason beside it."""
