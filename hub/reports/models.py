"""Reports, their versions, key images and signed documents. Versions are only added."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from hub.db.base import Base, HasId


class Report(HasId, Base):
    """The text of an exam's report as it stands; a draft until a version of it is signed."""

    __tablename__ = "report"

    exam_id: Mapped[str] = mapped_column(ForeignKey("exam.id"), unique=True)
    findings: Mapped[str] = mapped_column(Text, default="")
    impression: Mapped[str] = mapped_column(Text, default="")
    positive: Mapped[bool | None]
    revision: Mapped[int] = mapped_column(default=0)
    """Counts saves; a page that saves on top of an older one is refused."""
    saved_at: Mapped[datetime]
    saved_by: Mapped[str] = mapped_column(ForeignKey("user_account.id"))
    saved_by_name: Mapped[str] = mapped_column(String(64))
    writer_id: Mapped[str | None] = mapped_column(ForeignKey("user_account.id"))
    writer_name: Mapped[str] = mapped_column(String(64), default="")
    written_at: Mapped[datetime | None]
    review_comment: Mapped[str] = mapped_column(Text, default="")


class ReportVersion(HasId, Base):
    """What the report said when it was handed on; never changed."""

    __tablename__ = "report_version"
    __table_args__ = (UniqueConstraint("report_id", "number"),)

    report_id: Mapped[str] = mapped_column(ForeignKey("report.id"))
    number: Mapped[int]
    act: Mapped[str] = mapped_column(String(16))
    """``handover``, ``submit``, ``return`` or ``sign``."""
    findings: Mapped[str] = mapped_column(Text)
    impression: Mapped[str] = mapped_column(Text)
    positive: Mapped[bool | None]
    author_id: Mapped[str] = mapped_column(String(26))
    author_name: Mapped[str] = mapped_column(String(64))
    comment: Mapped[str] = mapped_column(Text, default="")
    at: Mapped[datetime]


class KeyImage(HasId, Base):
    """A picture chosen for the report."""

    __tablename__ = "key_image"
    __table_args__ = (UniqueConstraint("report_id", "sop_uid", "frame"),)

    report_id: Mapped[str] = mapped_column(ForeignKey("report.id"))
    sop_uid: Mapped[str] = mapped_column(String(64))
    frame: Mapped[int] = mapped_column(default=1)
    window_center: Mapped[float | None]
    window_width: Mapped[float | None]
    added_by: Mapped[str] = mapped_column(ForeignKey("user_account.id"))
    added_at: Mapped[datetime]


class SignedReport(HasId, Base):
    """A signed document: what was signed, by whom, and where the file lies; never changed."""

    __tablename__ = "signed_report"

    report_id: Mapped[str] = mapped_column(ForeignKey("report.id"), index=True)
    exam_id: Mapped[str] = mapped_column(ForeignKey("exam.id"), index=True)
    site_id: Mapped[str] = mapped_column(ForeignKey("site.id"), index=True)
    version: Mapped[int]
    content: Mapped[str] = mapped_column(Text)
    """Canonical JSON of everything the signature answers for, image hashes included."""
    content_sha256: Mapped[str] = mapped_column(String(64))
    writer_id: Mapped[str] = mapped_column(ForeignKey("user_account.id"))
    signer_id: Mapped[str] = mapped_column(ForeignKey("user_account.id"))
    signer_name: Mapped[str] = mapped_column(String(64))
    signer_serial: Mapped[str] = mapped_column(String(64))
    signed_at: Mapped[datetime] = mapped_column(index=True)
    pdf_key: Mapped[str] = mapped_column(String(512))
    pdf_size: Mapped[int] = mapped_column(BigInteger)
    pdf_sha256: Mapped[str] = mapped_column(String(64))
