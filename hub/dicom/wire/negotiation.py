"""Answering an association request: which presentation contexts are accepted, in which roles."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hub.dicom.wire import pdu
from hub.dicom.wire.association import OWN_MAXIMUM_LENGTH, Context
from hub.dicom.wire.service import Service, StorageService


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered to a request."""

    contexts: dict[int, Context]
    answered: list[pdu.AnsweredContext]
    roles: dict[str, tuple[bool, bool]]


class Negotiator:
    """Knows the services, and answers requests.

    Parameters
    ----------
    services : sequence of Service
    storage : StorageService or None
    """

    def __init__(self, services: Sequence[Service], storage: StorageService | None) -> None:
        self.storage = storage
        self.by_class = {uid: service for service in services for uid in service.sop_classes}

    def answer(self, request: pdu.Associate, *, stranger: bool) -> Answer:
        """Answer each proposed context; a number that is proposed twice keeps its first meaning."""
        contexts: dict[int, Context] = {}
        answered: dict[int, pdu.AnsweredContext] = {}
        for proposed in request.proposed:
            if proposed.id in answered:
                continue
            supported = self._supported(proposed.abstract_syntax, stranger=stranger)
            # The standard leaves the choice to the acceptor. A sender names the form it holds
            # first, by habit; taking that one avoids a conversion on its side.
            chosen = next((uid for uid in proposed.transfer_syntaxes if uid in supported), "")
            result = pdu.ACCEPTED
            if not supported:
                result = pdu.ABSTRACT_UNSUPPORTED
            elif not chosen:
                result = pdu.TRANSFER_UNSUPPORTED
            # A rejected context must still name some transfer syntax (PS3.8 Table 9-18).
            named = chosen or next(iter(proposed.transfer_syntaxes), "1.2.840.10008.1.2")
            answered[proposed.id] = pdu.AnsweredContext(proposed.id, result, named)
            if result == pdu.ACCEPTED:
                _, as_scp = request.roles.get(proposed.abstract_syntax, (True, False))
                contexts[proposed.id] = Context(proposed.id, proposed.abstract_syntax, chosen, as_scp)
        accepted = {context.abstract_syntax for context in contexts.values()}
        roles = {uid: wanted for uid, wanted in request.roles.items() if uid in accepted}
        return Answer(contexts, list(answered.values()), roles)

    def _supported(self, abstract_syntax: str, *, stranger: bool) -> Iterable[str]:
        if self.storage is not None and abstract_syntax in self.storage.sop_classes:
            return self.storage.transfer_syntaxes
        service = self.by_class.get(abstract_syntax)
        if service is None or (stranger and not service.strangers):
            return ()
        return service.transfer_syntaxes


def accepting(request: pdu.Associate, answer: Answer) -> bytes:
    """Return the A-ASSOCIATE-AC, titles echoed byte for byte as the standard asks."""
    return pdu.encode_associate(
        pdu.ASSOCIATE_AC,
        pdu.Associate(
            request.called,
            request.calling,
            answered=answer.answered,
            roles=answer.roles,
            maximum_length=OWN_MAXIMUM_LENGTH,
        ),
    )
