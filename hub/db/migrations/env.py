"""Alembic's entry: it runs on the connection that `hub.db.migrate` hands over."""

from alembic import context

from hub.db.base import Base
from hub.db.migrate import is_ours

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    include_name=is_ours,
    render_as_batch=connection.dialect.name == "sqlite",
    compare_type=True,
    user_module_prefix="hub.db.base.",
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
