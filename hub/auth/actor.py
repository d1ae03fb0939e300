"""The one who acts: a person, a machine's token, a device or the hub itself."""

from dataclasses import dataclass, field
from datetime import date
from typing import Literal

from hub.audit.service import ActorRef
from hub.auth.roles import GRANTS, READS_MODALITIES, Permission, Role


@dataclass(frozen=True)
class PostHeld:
    """One appointment: a role at a site, or at the centre when `site_id` is None."""

    role: Role
    site_id: str | None
    valid_from: date
    valid_to: date | None = None

    def in_force(self, day: date) -> bool:
        """Tell whether the appointment covers `day` (both ends included)."""
        return self.valid_from <= day and (self.valid_to is None or day <= self.valid_to)


@dataclass(frozen=True)
class Actor:
    """Somebody with the posts that are in force just now."""

    kind: Literal["person", "device", "token", "system"]
    id: str
    name: str
    login: str = ""
    posts: tuple[PostHeld, ...] = field(default=())
    address: str = ""

    @property
    def ref(self) -> ActorRef:
        """The short form that goes into the audit trail."""
        return ActorRef(self.kind, self.id, self.login or self.name)

    @property
    def roles(self) -> frozenset[Role]:
        """All roles held."""
        return frozenset(post.role for post in self.posts)

    def may(self, permission: Permission, site_id: str | None = None) -> bool:
        """Tell whether `permission` is held at all, or for one site when given."""
        if permission is Permission.SELF:
            return self.kind == "person"
        for post in self.posts:
            if permission in GRANTS[post.role] and (site_id is None or post.site_id in (None, site_id)):
                return True
        return False

    def sites_for(self, *permissions: Permission) -> frozenset[str] | None:
        """Return the sites where any of `permissions` is held; None means every site.

        An empty set means nowhere: a listing that starts from it is empty.
        """
        sites: set[str] = set()
        for post in self.posts:
            if any(permission in GRANTS[post.role] for permission in permissions):
                if post.site_id is None:
                    return None
                sites.add(post.site_id)
        return frozenset(sites)

    def reads(self, modality: str) -> bool:
        """Tell whether one of the posts is licensed to report on `modality`."""
        kind = "ecg" if modality == "ECG" else "imaging"
        return any(READS_MODALITIES.get(role) == kind for role in self.roles)


SYSTEM = Actor("system", "hub", "hub")
"""The hub itself: timers, matching, delivery."""
