"""The page: what stands where, and which handler each button calls. What they do is in `handlers`."""

import html
from dataclasses import dataclass
from typing import Any

import gradio as gr

from steersman.web import making_view
from steersman.web.desk import MOST, Desk
from steersman.web.handlers import NONE, Handlers
from steersman.web.making import EFFORTS
from steersman.web.shelf import SPANS, slider_of
from steersman.web.steering import ends
from steersman.web.talk import LONGEST, Session
from steersman.web.transcript import welcome

TITLE = "steersman"
TRIES = ("Tell me about your day.", "How do I bake bread?", "What do you think of the city you live in?")
BEGINNINGS = ("The old house at the end of the street", "Dear Mr. Brown,", "Today I feel")
FLIP = "() => { document.body.classList.toggle('dark'); }"
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
"""How handlers are bound: nothing flickers, and nothing is offered as an interface for programs."""

FOLLOW = """() => {
  const box = document.querySelector('#transcript');
  if (!box) return;
  let low = true;
  box.addEventListener('scroll', () => { low = box.scrollHeight - box.scrollTop - box.clientHeight < 60; });
  new MutationObserver(() => { if (low) box.scrollTop = box.scrollHeight; })
    .observe(box, { childList: true, subtree: true, characterData: true });
}"""
"""Keeps the end of the conversation in view while it is written, unless somebody has scrolled up to read."""


@dataclass
class _Chat:
    """The parts of the chat that others refer to."""

    sliders: list[gr.Slider]
    wide: gr.Checkbox
    colour: gr.Dropdown
    pick: gr.Dropdown
    message: gr.Textbox


def build(desk: Desk, handlers: Handlers) -> gr.Blocks:
    """Return the page of a desk.

    Args:
        desk: what the visitors share.
        handlers: what its buttons do.
    """
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as page:
        session = gr.State(None)
        with gr.Row(elem_id="bar"):
            gr.HTML(_top(desk), padding=False)
            flip = gr.Button("Light / dark", size="sm", variant="secondary", elem_id="theme", scale=0)
        flip.click(None, js=FLIP, **QUIET)
        with gr.Tabs() as tabs:
            with gr.Tab("Chat" if desk.chat else "Write", id="chat"):
                chat = _chat(desk, handlers, session)
            with gr.Tab("Make a direction", id="make"):
                _make(desk, handlers, session, chat, tabs)
            with gr.Tab("Reports", id="reports"):
                _reports(desk, handlers)
        # A page that is loaded again begins anew.
        page.load(desk.begin, None, session, **QUIET)
        page.load(None, js=FOLLOW, **QUIET)
    return page


def _top(desk: Desk) -> str:
    kind = "answers in turns" if desk.chat else "a base model, which goes on with a text"
    model = html.escape(desk.model.name.rstrip("/").split("/")[-1])
    words = f"{model} · {desk.model.depth} layers · {kind}"
    return f'<div id="top"><h1>{TITLE}</h1><span class="model">{words}</span></div>'


def _chat(desk: Desk, handlers: Handlers, session: gr.State) -> _Chat:
    names = [entry.name for entry in desk.entries if entry.direction is not None]
    first = names[0] if names else NONE
    begun = Session(list(desk.entries))
    with gr.Row(elem_id="page", equal_height=False):
        with gr.Column(elem_id="panel", scale=0, min_width=300):
            with gr.Column(elem_id="sliders"):
                gr.HTML('<p class="heading">Push along a direction, either way</p>', padding=False)
                if not names:
                    gr.HTML('<p class="quiet">None yet: make one, or load one below.</p>', padding=False)
                sliders = [_slider(desk, handlers, begun, place) for place in range(MOST)]
                wide = gr.Checkbox(False, label="Let sliders go beyond what is recommended", container=False)
            warnings = gr.HTML("", elem_id="warnings", padding=False)
            with gr.Accordion("More: layer, tokens, gate, length", open=False, elem_classes="box"):
                pick = gr.Dropdown(names, value=first if names else None, label="Direction", filterable=False)
                layer = gr.Dropdown([], label="Layer it acts behind", filterable=False, interactive=False)
                span = gr.Dropdown(
                    [(words, name) for name, words in SPANS.items()], value="all", label="Tokens it acts on",
                    filterable=False, interactive=False,
                )  # fmt: skip
                gated = gr.Checkbox(
                    False, label="Gate: act only where the prompt reads like it", interactive=False, container=False
                )
                length = gr.Slider(8, 256, 80, step=8, label="Tokens of an answer at most")
                temperature = gr.Slider(0, 1.5, 0, step=0.1, label="Temperature (0: always the likeliest word)")
            with gr.Accordion("Load a direction", open=False, elem_classes="box"):
                upload = gr.UploadButton(
                    "From a file …", file_types=[".safetensors"], size="sm", variant="secondary", elem_id="upload"
                )
                address = gr.Textbox(
                    label="From the Hugging Face hub", placeholder="owner/name", lines=1, max_lines=1, max_length=200
                )
        with gr.Column(elem_id="talk", scale=1, min_width=320):
            transcript = gr.HTML(welcome(chat=desk.chat, ready=bool(names)), elem_id="transcript", padding=False)
            notice = gr.HTML("", elem_id="notice", padding=False)
            with gr.Row(elem_id="tries") as tries:
                offered = [gr.Button(text, size="sm") for text in (TRIES if desk.chat else BEGINNINGS)]
            with gr.Row(elem_id="line"):
                message = gr.Textbox(
                    placeholder="Say something to both" if desk.chat else "Begin a text",
                    label="Message", show_label=False, container=False, lines=1, max_lines=5, max_length=LONGEST,
                    elem_id="message", scale=1, autofocus=True,
                )  # fmt: skip
                send = gr.Button("Send", variant="primary", elem_id="send", scale=0)
                stop = gr.Button("Stop", variant="stop", elem_id="stop", visible=False, scale=0)
                clear = gr.Button("Clear", variant="secondary", elem_id="clear", scale=0)
            with gr.Row(elem_id="tint"):
                colour = gr.Dropdown(
                    [NONE, *names], value=first, label="Colour words by", filterable=False, elem_id="colour", scale=0,
                    min_width=260,
                )  # fmt: skip
                legend = gr.HTML(handlers.legend(begun, first), elem_id="legend", padding=False)
    values = [*sliders]
    sent = [transcript, message, notice, send, stop, tries]
    given = [session, message, length, temperature, colour, *values]
    gr.on(
        [message.submit, send.click], handlers.send, given, sent, concurrency_limit=8, trigger_mode="once", **QUIET
    ).then(None, js="() => document.querySelector('#message textarea')?.focus()", **QUIET)
    for button in offered:
        button.click(
            handlers.send, [session, button, *given[2:]], sent, concurrency_limit=8, trigger_mode="once", **QUIET
        )
    stop.click(handlers.stop, session, None, queue=False, **QUIET)
    clear.click(handlers.clear, session, [transcript, notice, tries], queue=False, **QUIET)
    colour.input(handlers.recolour, [session, colour], [transcript, legend, notice], **QUIET)
    colour.change(handlers.legend, [session, colour], legend, **QUIET)
    for slider in sliders:
        slider.change(handlers.moved, [session, *values], warnings, trigger_mode="always_last", **QUIET)
    wide.input(handlers.widen, [session, wide, *values], [*sliders, warnings], **QUIET)
    where = [session, pick, layer, span, gated, wide, *values]
    pick.change(handlers.pick, [session, pick], [layer, span, gated], **QUIET)
    session.change(handlers.pick, [session, pick], [layer, span, gated], **QUIET)
    for part in (layer, span, gated):
        part.input(handlers.place, where, [*sliders, warnings], **QUIET)
    added = [notice, colour, pick, *sliders]
    upload.upload(handlers.add_file, [session, upload, wide, *values], added, **QUIET)
    address.submit(handlers.add_hub, [session, address, wide, *values], added, **QUIET)
    return _Chat(sliders, wide, colour, pick, message)


def _slider(desk: Desk, handlers: Handlers, session: Session, place: int) -> gr.Slider:
    """Return one slider: the first one stands at its recommendation, so that the first answer shows something."""
    if place >= len(desk.entries):
        return gr.Slider(-0.5, 0.5, 0, step=0.01, label="", visible=False, elem_classes="slot", buttons=["reset"])
    entry = desk.entries[place]
    slider = slider_of(entry, desk.setting(session, entry), desk.scales.norm)
    low, high = ends(slider)
    start = min(max(round(slider.start, 2), low), high) if place == 0 else 0.0
    return gr.Slider(
        low, high, start, step=0.01, label=entry.name, info=handlers.info(session, entry), elem_classes="slot",
        buttons=["reset"],
    )  # fmt: skip


def _make(desk: Desk, handlers: Handlers, session: gr.State, chat: _Chat, tabs: gr.Tabs) -> None:
    with gr.Row(elem_id="maker", equal_height=False):
        with gr.Column(elem_id="make-form", scale=0, min_width=300):
            concept = gr.Textbox(
                label="What it should bring", placeholder="such as: cheerful", lines=1, max_lines=1, max_length=200,
                elem_id="concept",
            )  # fmt: skip
            opposite = gr.Textbox(
                label="Its opposite", placeholder="such as: gloomy", lines=1, max_lines=1, max_length=200,
                elem_id="opposite",
            )  # fmt: skip
            with gr.Accordion("Or paste pairs", open=False, elem_classes="box"):
                pairs = gr.Textbox(
                    label="Pairs, one a line", placeholder="I love this day. => I hate this day.", lines=5,
                    max_lines=12, info="this => that; or lines of JSON as pair files have them", elem_id="pairs",
                )  # fmt: skip
                name = gr.Textbox(label="Name", placeholder="my direction", lines=1, max_lines=1, max_length=60)
            effort = gr.Radio(
                [("Quick: about a minute", "quick"), ("Thorough: more layers, several minutes", "thorough")],
                value=next(iter(EFFORTS)), label="How much is tried", elem_id="effort",
            )  # fmt: skip
            with gr.Row():
                make = gr.Button("Make it", variant="primary", elem_id="make")
                quit_ = gr.Button("Cancel", variant="stop", elem_id="quit", visible=False)
        with gr.Column(elem_id="make-view", scale=1, min_width=320):
            notice = gr.HTML("", elem_id="make-notice", padding=False)
            view = gr.HTML(making_view.idle(), elem_id="making", padding=False)
            with gr.Row(visible=False, elem_id="results") as results:
                use = gr.Button("Chat with it", variant="primary", size="sm", elem_id="use")
                download = gr.DownloadButton("Download", size="sm", elem_id="download")
                save = gr.Button("Save here", size="sm", visible=desk.folder is not None, elem_id="save")
    outputs = [view, notice, make, quit_, results, download, chat.colour, chat.pick, *chat.sliders]
    gr.on(
        [make.click, concept.submit, opposite.submit], handlers.make,
        [session, concept, opposite, pairs, name, effort, chat.wide, *chat.sliders], outputs,
        concurrency_limit=4, trigger_mode="once", **QUIET,
    )  # fmt: skip
    quit_.click(handlers.quit, session, None, queue=False, **QUIET)
    save.click(handlers.save, session, notice, **QUIET)
    use.click(lambda: gr.Tabs(selected="chat"), None, tabs, **QUIET)


def _reports(desk: Desk, handlers: Handlers) -> None:
    names = desk.reports.names()
    if desk.reports.folder is None:
        words = "Start the demo with <code>--runs FOLDER</code> to read the reports of finished runs here."
        gr.HTML(f'<div class="welcome"><h2>Reports of finished runs</h2><p>{words}</p></div>', padding=False)
        return
    pick = gr.Dropdown(
        names, value=None, label="Report" if names else "Report (there is none in the folder yet)", elem_id="report"
    )
    view = gr.HTML(handlers.report(None), elem_id="report-view", padding=False)
    pick.change(handlers.report, pick, view, **QUIET)
    pick.focus(lambda: gr.update(choices=desk.reports.names()), None, pick, **QUIET)
