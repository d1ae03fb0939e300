"""DIMSE statuses that the hub gives and understands (PS3.7 annex C, PS3.4 annexes B, C, J, K)."""

SUCCESS = 0x0000
CANCELLED = 0xFE00
PENDING = 0xFF00
PENDING_WARNING = 0xFF01
"""More to come; some optional keys were not supported."""

PROCESSING_FAILURE = 0x0110
DUPLICATE_INSTANCE = 0x0111
NO_SUCH_CLASS = 0x0118
CLASS_INSTANCE_CONFLICT = 0x0119
MISSING_ATTRIBUTE = 0x0120
CLASS_NOT_SUPPORTED = 0x0122
NO_SUCH_ACTION = 0x0123
NOT_AUTHORISED = 0x0124
UNRECOGNISED_OPERATION = 0x0211

OUT_OF_RESOURCES = 0xA700
UNABLE_TO_PERFORM_SUBOPERATIONS = 0xA702
MOVE_DESTINATION_UNKNOWN = 0xA801
IDENTIFIER_MISMATCH = 0xA900
"""Of a query: identifier does not match SOP class; of an object: data set does not match SOP class."""
WARNING_SUBOPERATIONS = 0xB000
"""Sub-operations complete, one or more failures or warnings."""
_WARNING_CLASS = 0xB


def is_pending(status: int) -> bool:
    """Tell whether more answers follow."""
    return status in (PENDING, PENDING_WARNING)


def is_warning(status: int) -> bool:
    """Tell whether the operation was done, with a remark (PS3.7 section C.3)."""
    return status in (0x0001, 0x0107, 0x0116) or status >> 12 == _WARNING_CLASS
