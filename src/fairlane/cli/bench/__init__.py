"""`fairlane bench`: measures this machine with this database. What is measured, and how, `measures.py` says."""
