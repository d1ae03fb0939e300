"""DICOM exchange: packs, nodes, commitments, procedure steps, corrections of names."""

import sqlalchemy as sa
from alembic import op

import hub.db.base
from hub.catalogue.models import alias_by_sound
from hub.kit.people import searchable_name

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SEARCHED_OF_STUDIES = {"name_key": 200, "name_alias": 200, "study_number": 64, "referring_name": 200}
SEARCHED_OF_SERIES = {"performed_date": 8, "performed_time": 16, "step_id": 64, "procedure_id": 64}
OLD_STUDY_INDEXES = (
    "ix_study_accession",
    "ix_study_patient_name",
    "ix_study_site_date",
    "ix_study_study_date",
)


def upgrade() -> None:
    _new_tables()
    _new_columns()


def _new_tables() -> None:
    op.create_table(
        "dicom_node",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("ae_title", sa.String(length=16), nullable=False),
        sa.Column("calling_ae", sa.String(length=16), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("tls", sa.Boolean(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("forward", sa.Boolean(), nullable=False),
        sa.Column("forward_sites", sa.JSON(), nullable=False),
        sa.Column("forward_modalities", sa.JSON(), nullable=False),
        sa.Column("created_at", hub.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("echo_at", hub.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("echo_outcome", sa.String(length=200), nullable=False),
        sa.Column("last_sent_at", hub.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("failing_since", hub.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("retry_at", hub.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.String(length=200), nullable=False),
        sa.Column("runner", sa.String(length=26), nullable=False),
        sa.Column("runner_until", hub.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dicom_node")),
        sa.UniqueConstraint("name", name=op.f("uq_dicom_node_name")),
    )
    op.create_table(
        "retired_object",
        sa.Column("key", sa.String(length=512), nullable=False),
        sa.Column("delete_after", hub.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retired_object")),
        sa.UniqueConstraint("key", name=op.f("uq_retired_object_key")),
    )
    with op.batch_alter_table("retired_object", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_retired_object_delete_after"), ["delete_after"], unique=False)

    op.create_table(
        "commitment_request",
        sa.Column("site_id", sa.String(length=26), nullable=False),
        sa.Column("device_id", sa.String(length=26), nullable=False),
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("calling_ae", sa.String(length=64), nullable=False),
        sa.Column("called_ae", sa.String(length=64), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("items", sa.JSON(), nullable=False),
        sa.Column("requested_at", hub.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("failed", sa.JSON(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", hub.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("answered_at", hub.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.String(length=200), nullable=False),
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.ForeignKeyConstraint(
            ["device_id"], ["device.id"], name=op.f("fk_commitment_request_device_id_device")
        ),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_commitment_request_site_id_site")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_commitment_request")),
        sa.UniqueConstraint(
            "device_id", "transaction_uid", name=op.f("uq_commitment_request_device_id_transaction_uid")
        ),
    )
    with op.batch_alter_table("commitment_request", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_commitment_request_state"), ["state"], unique=False)

    op.create_table(
        "forward_task",
        sa.Column("node_id", sa.String(length=26), nullable=False),
        sa.Column("study_id", sa.String(length=26), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("objects_total", sa.Integer(), nullable=False),
        sa.Column("objects_sent", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.String(length=200), nullable=False),
        sa.Column("next_at", hub.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("created_at", hub.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("queued_at", hub.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("updated_at", hub.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("done_at", hub.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.ForeignKeyConstraint(
            ["node_id"], ["dicom_node.id"], name=op.f("fk_forward_task_node_id_dicom_node")
        ),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_forward_task_study_id_study")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_forward_task")),
        sa.UniqueConstraint("node_id", "study_id", name=op.f("uq_forward_task_node_id_study_id")),
    )
    with op.batch_alter_table("forward_task", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_forward_task_state"), ["state"], unique=False)
        batch_op.create_index(batch_op.f("ix_forward_task_study_id"), ["study_id"], unique=False)

    op.create_table(
        "name_correction",
        sa.Column("study_id", sa.String(length=26), nullable=False),
        sa.Column("at", hub.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("actor_id", sa.String(length=26), nullable=False),
        sa.Column("actor_name", sa.String(length=64), nullable=False),
        sa.Column("charset", sa.String(length=32), nullable=False),
        sa.Column("before", sa.String(length=200), nullable=False),
        sa.Column("before_charset", sa.String(length=32), nullable=False),
        sa.Column("before_confidence", sa.Double(), nullable=False),
        sa.Column("after", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("patient_id", sa.String(length=26), nullable=True),
        sa.Column("undone_at", hub.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("undone_by", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.ForeignKeyConstraint(
            ["patient_id"], ["patient.id"], name=op.f("fk_name_correction_patient_id_patient")
        ),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_name_correction_study_id_study")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_name_correction")),
    )
    with op.batch_alter_table("name_correction", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_name_correction_study_id"), ["study_id"], unique=False)

    op.create_table(
        "pack",
        sa.Column("study_id", sa.String(length=26), nullable=False),
        sa.Column("key", sa.String(length=512), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("n_objects", sa.Integer(), nullable=False),
        sa.Column("created_at", hub.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_pack_study_id_study")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pack")),
        sa.UniqueConstraint("key", name=op.f("uq_pack_key")),
    )
    with op.batch_alter_table("pack", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_pack_study_id"), ["study_id"], unique=False)

    op.create_table(
        "procedure_step",
        sa.Column("site_id", sa.String(length=26), nullable=False),
        sa.Column("device_id", sa.String(length=26), nullable=False),
        sa.Column("sop_uid", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("order_id", sa.String(length=26), nullable=True),
        sa.Column("study_uid", sa.String(length=64), nullable=False),
        sa.Column("accession", sa.String(length=64), nullable=False),
        sa.Column("local_id", sa.String(length=64), nullable=False),
        sa.Column("modality", sa.String(length=16), nullable=False),
        sa.Column("objects", sa.JSON(), nullable=False),
        sa.Column("attributes", sa.JSON(), nullable=False),
        sa.Column("received_at", hub.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("updated_at", hub.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.ForeignKeyConstraint(
            ["device_id"], ["device.id"], name=op.f("fk_procedure_step_device_id_device")
        ),
        sa.ForeignKeyConstraint(
            ["order_id"], ["exam_order.id"], name=op.f("fk_procedure_step_order_id_exam_order")
        ),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_procedure_step_site_id_site")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_procedure_step")),
        sa.UniqueConstraint("site_id", "sop_uid", name=op.f("uq_procedure_step_site_id_sop_uid")),
    )
    with op.batch_alter_table("procedure_step", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_procedure_step_order_id"), ["order_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_procedure_step_study_uid"), ["study_uid"], unique=False)

    op.create_table(
        "forwarded_object",
        sa.Column("task_id", sa.String(length=26), nullable=False),
        sa.Column("instance_id", sa.String(length=26), nullable=False),
        sa.Column("at", hub.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instance.id"], name=op.f("fk_forwarded_object_instance_id_instance")
        ),
        sa.ForeignKeyConstraint(
            ["task_id"], ["forward_task.id"], name=op.f("fk_forwarded_object_task_id_forward_task")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_forwarded_object")),
        sa.UniqueConstraint("task_id", "instance_id", name=op.f("uq_forwarded_object_task_id_instance_id")),
    )


def _new_columns() -> None:
    empty = sa.text("x''" if op.get_bind().dialect.name == "sqlite" else "''")
    with op.batch_alter_table("association_refusal", schema=None) as batch_op:
        batch_op.add_column(sa.Column("detail", sa.String(length=200), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("count", sa.Integer(), nullable=False, server_default="1"))
        batch_op.add_column(
            sa.Column(
                "last_at",
                hub.db.base.UtcDateTime(timezone=True),
                nullable=False,
                server_default="1970-01-01 00:00:00",
            )
        )

    with op.batch_alter_table("device", schema=None) as batch_op:
        batch_op.add_column(sa.Column("certificate_sha256", sa.String(length=64), nullable=True))
        batch_op.add_column(
            sa.Column("strict_called", sa.Boolean(), nullable=False, server_default=sa.false())
        )
        batch_op.add_column(sa.Column("port", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("tls", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.add_column(
            sa.Column("query_scope", sa.String(length=8), nullable=False, server_default="site")
        )
        batch_op.create_index(
            batch_op.f("ix_device_certificate_sha256"), ["certificate_sha256"], unique=False
        )

    with op.batch_alter_table("exam_order", schema=None) as batch_op:
        batch_op.add_column(sa.Column("scheduled_at", hub.db.base.UtcDateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("station_ae", sa.String(length=16), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("expected_objects", sa.Integer(), nullable=True))

    with op.batch_alter_table("instance", schema=None) as batch_op:
        batch_op.add_column(sa.Column("storage_offset", sa.BigInteger(), nullable=False, server_default="0"))

    with op.batch_alter_table("quarantined", schema=None) as batch_op:
        batch_op.add_column(sa.Column("proposed_at", hub.db.base.UtcDateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("proposed_by", sa.String(length=26), nullable=True))

    with op.batch_alter_table("series", schema=None) as batch_op:
        batch_op.add_column(sa.Column("n_instances", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(
            sa.Column("metadata_key", sa.String(length=512), nullable=False, server_default="")
        )
        batch_op.add_column(
            sa.Column("metadata_tag", sa.String(length=64), nullable=False, server_default="")
        )

    with op.batch_alter_table("study", schema=None) as batch_op:
        batch_op.add_column(sa.Column("name_raw", sa.LargeBinary(), nullable=False, server_default=empty))
        batch_op.add_column(
            sa.Column("declared_charset", sa.String(length=64), nullable=False, server_default="")
        )

    _add_what_is_searched()
    _bring_rows_up_to_date()


def _bring_rows_up_to_date() -> None:
    """Counts and times that rows get from what is there; a hash that every file can give."""
    op.execute("UPDATE association_refusal SET last_at = at")
    op.execute(
        "UPDATE series SET n_instances = (SELECT count(*) FROM instance WHERE instance.series_id = series.id)"
    )
    # SQLite can do this by itself; a batch would copy the table, which others refer to.
    op.drop_column("instance", "dataset_sha256")


def _add_what_is_searched() -> None:
    """Columns and indexes of searches over a million studies."""
    with op.batch_alter_table("series", schema=None) as batch_op:
        for name, length in SEARCHED_OF_SERIES.items():
            batch_op.add_column(sa.Column(name, sa.String(length=length), nullable=False, server_default=""))
        batch_op.create_index("ix_series_modality", ["modality", "study_id"], unique=False)
    with op.batch_alter_table("study", schema=None) as batch_op:
        for name, length in SEARCHED_OF_STUDIES.items():
            batch_op.add_column(sa.Column(name, sa.String(length=length), nullable=False, server_default=""))
        for name in OLD_STUDY_INDEXES:
            batch_op.drop_index(name)
        batch_op.create_index("ix_study_newest", ["study_date", "study_time", "id"], unique=False)
        batch_op.create_index(
            "ix_study_site_newest", ["site_id", "study_date", "study_time", "id"], unique=False
        )
        for name in ("local_id", "name_key", "name_alias", "accession"):
            batch_op.create_index(
                f"ix_study_{name}", [name], unique=False, postgresql_ops={name: "text_pattern_ops"}
            )
    _fill_name_keys()


def _remove_what_is_searched() -> None:
    with op.batch_alter_table("study", schema=None) as batch_op:
        for name in ("accession", "name_alias", "name_key", "local_id", "site_newest", "newest"):
            batch_op.drop_index(f"ix_study_{name}")
        batch_op.create_index("ix_study_site_date", ["site_id", "study_date"], unique=False)
        for name in ("accession", "patient_name", "study_date"):
            batch_op.create_index(f"ix_study_{name}", [name], unique=False)
        for name in reversed(SEARCHED_OF_STUDIES):
            batch_op.drop_column(name)
    with op.batch_alter_table("series", schema=None) as batch_op:
        batch_op.drop_index("ix_series_modality")
        for name in reversed(SEARCHED_OF_SERIES):
            batch_op.drop_column(name)


def _fill_name_keys() -> None:
    """Bring the searched forms of the names that are there already up to date."""
    study = sa.table("study", *map(sa.column, ("id", "patient_name", "name_key", "name_alias")))
    connection = op.get_bind()
    named = connection.execute(sa.select(study.c.id, study.c.patient_name)).all()
    filled = study.update().where(study.c.id == sa.bindparam("row"))
    if named:
        keys = [
            {"row": row, "name_key": searchable_name(name), "name_alias": alias_by_sound(name)}
            for row, name in named
        ]
        connection.execute(
            filled.values(name_key=sa.bindparam("name_key"), name_alias=sa.bindparam("name_alias")), keys
        )


def downgrade() -> None:
    _remove_what_is_searched()
    with op.batch_alter_table("study", schema=None) as batch_op:
        batch_op.drop_column("declared_charset")
        batch_op.drop_column("name_raw")

    with op.batch_alter_table("series", schema=None) as batch_op:
        batch_op.drop_column("metadata_tag")
        batch_op.drop_column("metadata_key")
        batch_op.drop_column("n_instances")

    with op.batch_alter_table("instance", schema=None) as batch_op:
        # What it held is in the stored files; nobody reads a million of them for a way back.
        batch_op.add_column(
            sa.Column("dataset_sha256", sa.String(length=64), nullable=False, server_default="")
        )
        batch_op.drop_column("storage_offset")

    with op.batch_alter_table("exam_order", schema=None) as batch_op:
        batch_op.drop_column("expected_objects")
        batch_op.drop_column("station_ae")
        batch_op.drop_column("scheduled_at")

    with op.batch_alter_table("device", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_device_certificate_sha256"))
        batch_op.drop_column("query_scope")
        batch_op.drop_column("tls")
        batch_op.drop_column("port")
        batch_op.drop_column("strict_called")
        batch_op.drop_column("certificate_sha256")

    with op.batch_alter_table("association_refusal", schema=None) as batch_op:
        batch_op.drop_column("last_at")
        batch_op.drop_column("count")
        batch_op.drop_column("detail")

    op.drop_table("forwarded_object")
    with op.batch_alter_table("procedure_step", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_procedure_step_study_uid"))
        batch_op.drop_index(batch_op.f("ix_procedure_step_order_id"))

    op.drop_table("procedure_step")
    with op.batch_alter_table("pack", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_pack_study_id"))

    op.drop_table("pack")
    with op.batch_alter_table("name_correction", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_name_correction_study_id"))

    op.drop_table("name_correction")
    with op.batch_alter_table("forward_task", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_forward_task_study_id"))
        batch_op.drop_index(batch_op.f("ix_forward_task_state"))

    op.drop_table("forward_task")
    with op.batch_alter_table("commitment_request", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_commitment_request_state"))

    op.drop_table("commitment_request")
    with op.batch_alter_table("retired_object", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_retired_object_delete_after"))

    op.drop_table("retired_object")
    op.drop_table("dicom_node")
