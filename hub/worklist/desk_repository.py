"""What the desk asks of orders and exams before it changes them."""

from sqlalchemy import select

from hub.db.repository import Repository
from hub.worklist.models import Order


class DeskRepository(Repository):
    """Questions that the desk's decisions depend on."""

    def has_orders(self, patient_id: str) -> bool:
        """Tell whether anybody has ever ordered an exam for an identity: then a person typed its name."""
        return (
            self.session.scalar(select(Order.id).where(Order.patient_id == patient_id).limit(1)) is not None
        )
