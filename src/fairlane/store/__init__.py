"""The SQL of Fairlane: tables, statements, transactions, migrations.

No other folder writes SQL. No module here decides what should happen to a job: that is `domain`.
"""
