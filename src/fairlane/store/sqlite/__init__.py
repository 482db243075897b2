"""SQLite: how it does what `store.engine` names, and the statements that are its own. No decision."""
