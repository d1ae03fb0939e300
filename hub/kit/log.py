"""Structured logs: a constant event name and fields that hold ids only."""

import logging
import sys
from typing import Any, Literal

import structlog


def configure(level: str, style: Literal["json", "console"]) -> None:
    """Send the hub's own events and other libraries' warnings to stderr.

    Libraries are held at WARNING: at lower levels some of them print what they parse,
    names of patients included.
    """
    renderer: Any = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if style == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info if style == "json" else _unchanged,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")


def _unchanged(_logger: Any, _name: str, event: Any) -> Any:
    return event
