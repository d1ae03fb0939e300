"""ECG: analyses, edits of readers, chest pain and hints that order the worklist, watched folders."""

import sqlalchemy as sa
from alembic import op

import hub.db.base

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "watched_folder",
        sa.Column("site_code", sa.String(length=16), nullable=False),
        sa.Column("folder", sa.String(length=1000), nullable=False),
        sa.Column("looked_at", hub.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("waiting", sa.Integer(), nullable=False),
        sa.Column("taken", sa.Integer(), nullable=False),
        sa.Column("refused", sa.Integer(), nullable=False),
        sa.Column("last_taken_at", hub.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("problem", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_watched_folder")),
        sa.UniqueConstraint("site_code", "folder", name=op.f("uq_watched_folder_site_code_folder")),
    )
    op.create_table(
        "ecg_analysis",
        sa.Column("study_id", sa.String(length=26), nullable=False),
        sa.Column("source_id", sa.String(length=26), nullable=False),
        sa.Column("engine", sa.String(length=64), nullable=False),
        sa.Column("profile", sa.String(length=64), nullable=False),
        sa.Column("created_at", hub.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("error", sa.String(length=64), nullable=False),
        sa.Column("verdict", sa.String(length=8), nullable=False),
        sa.Column("hint_level", sa.String(length=8), nullable=False),
        sa.Column("hint_rules", sa.JSON(), nullable=False),
        sa.Column("hr_bpm", sa.Double(), nullable=True),
        sa.Column("qrs_ms", sa.Double(), nullable=True),
        sa.Column("qtc_ms", sa.Double(), nullable=True),
        sa.Column("analysed_seconds", sa.Double(), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_ecg_analysis_study_id_study")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ecg_analysis")),
        sa.UniqueConstraint(
            "source_id", "engine", "profile", name=op.f("uq_ecg_analysis_source_id_engine_profile")
        ),
    )
    with op.batch_alter_table("ecg_analysis", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_ecg_analysis_study_id"), ["study_id"], unique=False)

    op.create_table(
        "ecg_edit",
        sa.Column("exam_id", sa.String(length=26), nullable=False),
        sa.Column("source_id", sa.String(length=26), nullable=False),
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("lead", sa.String(length=16), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("was", sa.Double(), nullable=True),
        sa.Column("unit", sa.String(length=8), nullable=False),
        sa.Column("by_id", sa.String(length=26), nullable=False),
        sa.Column("by_name", sa.String(length=64), nullable=False),
        sa.Column("at", hub.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.ForeignKeyConstraint(["by_id"], ["user_account.id"], name=op.f("fk_ecg_edit_by_id_user_account")),
        sa.ForeignKeyConstraint(["exam_id"], ["exam.id"], name=op.f("fk_ecg_edit_exam_id_exam")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ecg_edit")),
    )
    with op.batch_alter_table("ecg_edit", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_ecg_edit_exam_id"), ["exam_id"], unique=False)

    with op.batch_alter_table("exam", schema=None) as batch_op:
        batch_op.add_column(sa.Column("chest_pain", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.add_column(sa.Column("onset_at", hub.db.base.UtcDateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("hint_level", sa.String(length=8), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("hint_rules", sa.JSON(), nullable=False, server_default="[]"))
        batch_op.add_column(
            sa.Column("hint_dismissed_at", hub.db.base.UtcDateTime(timezone=True), nullable=True)
        )
        batch_op.add_column(
            sa.Column("hint_dismissed_by", sa.String(length=64), nullable=False, server_default="")
        )
        batch_op.add_column(sa.Column("ecg_verdict", sa.String(length=8), nullable=False, server_default=""))

    with op.batch_alter_table("study", schema=None) as batch_op:
        batch_op.add_column(sa.Column("chest_pain", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.add_column(sa.Column("onset_at", hub.db.base.UtcDateTime(timezone=True), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("study", schema=None) as batch_op:
        batch_op.drop_column("onset_at")
        batch_op.drop_column("chest_pain")

    with op.batch_alter_table("exam", schema=None) as batch_op:
        batch_op.drop_column("ecg_verdict")
        batch_op.drop_column("hint_dismissed_by")
        batch_op.drop_column("hint_dismissed_at")
        batch_op.drop_column("hint_rules")
        batch_op.drop_column("hint_level")
        batch_op.drop_column("onset_at")
        batch_op.drop_column("chest_pain")

    with op.batch_alter_table("ecg_edit", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_ecg_edit_exam_id"))

    op.drop_table("ecg_edit")
    with op.batch_alter_table("ecg_analysis", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_ecg_analysis_study_id"))

    op.drop_table("ecg_analysis")
    op.drop_table("watched_folder")
