"""requant's tables; after requant itself was upgraded, one more revision like this."""

from __future__ import annotations

from alembic import op

from requant.integration.sqlalchemy import upgrade as upgrade_requant

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    upgrade_requant(op.get_bind())


def downgrade() -> None:
    """Leave the vectors: articles can be embedded again, but that takes long."""
