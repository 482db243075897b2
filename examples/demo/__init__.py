"""The demo: runs the application of examples/reports and shows what becomes of its jobs."""
