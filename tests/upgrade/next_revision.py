"""A revision that comes after the newest: a table, a column and an index more. `releases` gives it its number.

Revision ID: NEXT
Revises: HEAD
"""

import sqlalchemy as sa
from alembic import op

from fairlane.store.migrations import online

revision = "NEXT"
down_revision = "HEAD"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what the release after this one may use."""
    op.create_table(
        "fairlane_costs",
        sa.Column("organization_id", sa.String(140), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("cents", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "job_id", name="fairlane_costs_pk"),
        if_not_exists=True,
    )
    # To the table that workers write to all the time.
    online.add_column("fairlane_live", sa.Column("cents", sa.Integer()))
    online.create_index("fairlane_live_cents", "fairlane_live", ["organization_id", "cents"])
