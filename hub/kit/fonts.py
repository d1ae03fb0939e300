"""The one font that everything printed is set in."""

from pathlib import Path


def font_file() -> Path:
    """Return the file of the embedded CJK font (Noto Sans CJK, all weights)."""
    import manimgx_fonts_cjk

    return Path(str(manimgx_fonts_cjk.__file__)).with_name("NotoSansCJK-VF.otf.ttc")
