"""How the page looks: a theme of system fonts, so that nothing is fetched from anywhere, and the style sheet."""

from importlib import resources

from gradio.themes import Base, Color

from steersman.report.figures import PALETTE

FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")

INK = Color(
    "#faf9f6", "#f3f1ec", "#e4e2dc", "#cfccc4", "#a3a8b0", "#747981", "#565b63", "#353a43", "#22262d", "#1b1e24",
    "#14161a", "ink",
)  # fmt: skip
BLUE = Color(
    "#eef6fb", "#d7eaf6", "#b3d8ee", "#83bfe3", "#4aa1d4", "#1f86c2", "#0072b2", "#005d92", "#004a74", "#013a5b",
    "#012a42", "steered",
)  # fmt: skip


def theme() -> Base:
    """Return the theme: the reports' colours, small type, thin lines, no shadows."""
    return Base(
        primary_hue=BLUE, secondary_hue=BLUE, neutral_hue=INK, text_size="md", spacing_size="sm", radius_size="md",
        font=list(FONTS), font_mono=list(MONO),
    ).set(
        body_background_fill="#fbfaf7",
        body_background_fill_dark="#14161a",
        body_text_color="#1b1d22",
        body_text_color_dark="#eceae4",
        body_text_color_subdued="#62676f",
        body_text_color_subdued_dark="#a3a8b0",
        background_fill_primary="#ffffff",
        background_fill_primary_dark="#1b1e24",
        background_fill_secondary="#f3f1ec",
        background_fill_secondary_dark="#22262d",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_border_width_dark="0px",
        block_padding="0px",
        block_shadow="none",
        block_shadow_dark="none",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_info_text_color="#62676f",
        block_info_text_color_dark="#a3a8b0",
        block_title_text_weight="600",
        block_title_text_size="0.86rem",
        block_title_text_color="#1b1d22",
        block_title_text_color_dark="#eceae4",
        border_color_primary="#dcd9d2",
        border_color_primary_dark="#353a43",
        input_background_fill="#ffffff",
        input_background_fill_dark="#1b1e24",
        input_border_color="#c9c6be",
        input_border_color_dark="#454b56",
        input_border_color_focus="#0072b2",
        input_border_color_focus_dark="#5cb8ee",
        button_primary_background_fill="#0072b2",
        button_primary_background_fill_dark="#0072b2",
        button_primary_background_fill_hover="#005d92",
        button_primary_background_fill_hover_dark="#1f86c2",
        button_primary_text_color="#ffffff",
        button_secondary_background_fill="#f3f1ec",
        button_secondary_background_fill_dark="#22262d",
        button_secondary_background_fill_hover="#e4e2dc",
        button_secondary_background_fill_hover_dark="#353a43",
        button_secondary_border_color="#dcd9d2",
        button_secondary_border_color_dark="#353a43",
        button_border_width="1px",
        button_large_padding="9px 16px",
        button_small_padding="5px 11px",
        slider_color="#0072b2",
        slider_color_dark="#5cb8ee",
        layout_gap="10px",
        form_gap_width="0px",
    )  # fmt: skip


def style() -> str:
    """Return the style sheet: the reports' palette as variables for light and dark, then the page's own rules."""
    light, dark = ("".join(f"--{name}:{pair[place]};" for name, pair in PALETTE.items()) for place in (0, 1))
    rules = (resources.files("steersman.web") / "style.css").read_text(encoding="utf-8")
    return f":root{{{light}}}\n.dark{{{dark}}}\n{rules}"
