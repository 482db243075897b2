"""All SQL of Fairlane: tables, statements, transactions, migrations.

No module above this folder writes SQL; none in it decides what should happen to a job (that is `domain`).
"""
