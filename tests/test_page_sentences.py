"""The sentence page in Streamlit's own test runner: every source, lens, operator and parameter, good and bad.

The encoder is the real one, which comes as a package; no test here asks a network.
"""

import base64
import csv
import io
import random
import re
import string
import xml.etree.ElementTree as ET

import huggingface_hub
import numpy as np
import pytest
import streamlit as st
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from PIL import Image
from streamlit.dataframe_util import convert_arrow_bytes_to_pandas_df
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

from poolviz.charts.similarity import cosines
from poolviz.inputs import grammar, sentences
from poolviz.inputs.encoder import Encoder, load_encoder
from poolviz.inputs.encoder_files import ENCODER
from poolviz.inputs.picture import InputError
from poolviz.pages import choose_sentences
from poolviz.pages import sentences as sentences_page
from poolviz.pages.parameters import TEMPERATURES
from poolviz.pages.sentence_parameters import DRAW_COUNTS, LENSES, OPERATORS, PARAMS, SOURCES, STOCHASTIC, key
from poolviz.pages.show import plain
from poolviz.pooling import POOLINGS, pool_sequence
from tests.test_charts_compare import weights_of
from tests.test_page_explorer import data, healthy, new_page, no_data, numbers, one_sentence, said, send

__all__ = ["no_data"]  # a fixture, used by every test of this file

BANK = sentences.EXAMPLES["bank"]
HOSTILE = (
    "<script>alert(1)</script>",
    "![x](http://evil.example/x.png)",
    "[a](javascript:alert(1))",
    "**b** _i_ :red[x] $x$ `c` ~~s~~ :material/home: | t |",
    "# h",
    "> q",
    "- l",
    "see http://evil.example/x, www.evil.example and me@evil.example",
    "<img src=x onerror=alert(1)>",
    "\\[a](http://evil.example) \\*b\\*",
)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder(ENCODER)


def unopened(**query: str) -> AppTest:
    """The page as a link opens it; not yet run."""
    return at(new_page(**query), "sentences")


def at(app: AppTest, page: str) -> AppTest:
    """The navigation's link to a page; it leaves the address bare."""
    app._page_hash = calc_hash(page)
    return app


def opened(**query: str) -> AppTest:
    return healthy(unopened(**query).run())


def written(text: str, **query: str) -> AppTest:
    """The page after a visitor has typed a text."""
    app = opened(source="own", **query)
    app.text_area(key=key("text")).set_value(text)
    return healthy(app.run())


def board(app: AppTest) -> dict:
    return data(app, "poolviz_tokens")


def floats(sent: str) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(base64.b64decode(sent), dtype="<f4").copy())


def layers(app: AppTest):
    """The slider of layers, whatever its key."""
    (slider,) = [slider for slider in app.slider if slider.label == "Layer"]
    return slider


def address(app: AppTest) -> dict:
    """What the link keeps, without the layer, which is written once the encoder is known."""
    return {name: value for name, value in app.query_params.items() if name != "layer"}


def shown_texts(app: AppTest) -> list[str]:
    """The sentences that can be looked at."""
    picker = [s for s in app.selectbox if s.key == key("which")]
    if picker:
        labels = [option.split(": ", 1)[1] for option in picker[0].options]
        return [label.removeprefix("✓ ").removeprefix("* ") for label in labels]  # the judgement stands before it
    return [data(app, "poolviz_tokens")["title"].split("\n")[0]]


def test_the_page_opens_on_a_sentence_with_torchs_numbers(encoder):
    app = opened()
    encoded = encoder.encode(BANK[0])
    shown = board(app)
    assert torch.equal(numbers(shown["hidden"]), encoded.hidden[-1])
    assert [piece["piece"] for piece in shown["pieces"]] == [piece.piece for piece in encoded.pieces]
    assert sorted(shown["order"]) == list(range(384)) and all(shown["mask"])
    titles = {reading["title"]: reading for reading in shown["readings"]}
    assert list(titles) == ["CLS", "Mean", "Max", "Softmax-stochastic"]
    assert torch.equal(floats(titles["CLS"]["values"]), encoded.hidden[-1][0])
    torch.testing.assert_close(floats(titles["Mean"]["values"]), encoded.hidden[-1].mean(0))
    assert torch.equal(floats(titles["Max"]["values"]), encoded.hidden[-1].max(0).values)
    soft = (encoded.hidden[-1].softmax(0) * encoded.hidden[-1]).sum(0)
    torch.testing.assert_close(floats(titles["Softmax-stochastic"]["values"]), soft)
    assert said(app) == {} and address(app) == {}


# ---- lenses


@pytest.mark.parametrize("lens", list(LENSES))
def test_every_lens_for_every_example(lens):
    app = opened(lens=lens)
    for name, texts in sentences.EXAMPLES.items():
        app.selectbox(key=key("example")).set_value(name)
        healthy(app.run())
        for which in range(len(texts)):
            app.selectbox(key=key("which")).set_value(which)
            assert said(healthy(app.run())) == {}, (name, which)


@pytest.mark.parametrize("lens", list(LENSES))
def test_every_lens_with_each_operator_alone_in_both_modes(lens):
    app = opened(lens=lens)
    for name in OPERATORS:
        for mode in ("test", "train"):
            app.multiselect(key=key("operators")).set_value([name])
            app.session_state[key("mode")] = mode
            assert said(healthy(app.run())) == {}, (name, mode)
            seeds = [n for n in app.number_input if n.key == key("seed")]
            assert bool(seeds) == (POOLINGS[name].stochastic and mode == "train")


@pytest.mark.parametrize("mode", ["test", "train"])
@pytest.mark.parametrize("name", OPERATORS)
def test_every_operators_board_is_pool_sequences(encoder, name, mode):
    app = opened(operators=name, mode=mode, seed="11", temperature="0.3", layer="3")
    hidden = encoder.encode(BANK[0]).hidden[3]
    truth, weights = pool_sequence(
        hidden[None],
        None,
        name,
        return_weights=True,
        training=mode == "train",
        generator=torch.Generator().manual_seed(11),
        temperature=0.3,
    )
    readings = board(app)["readings"]
    assert torch.equal(torch.cat([floats(reading["values"]) for reading in readings]), truth[0])
    decoded = [weights_of(reading["weights"], 384, 1, 1, len(hidden)) for reading in readings]
    together = np.concatenate([each.reshape(384, len(hidden)).T for each in decoded], axis=1)
    np.testing.assert_array_equal(together, weights[0].numpy())


@pytest.mark.parametrize("order", ["winner", "variance", "index"])
@pytest.mark.parametrize("layer", [0, 3, 6])
def test_orders_and_layers(encoder, order, layer):
    app = opened(order=order, layer=str(layer))
    hidden = encoder.encode(BANK[0]).hidden[layer]
    shown = board(app)
    assert torch.equal(numbers(shown["hidden"]), hidden)
    sorted_ = hidden[:, shown["order"]]
    if order == "index":
        assert shown["order"] == list(range(384))
    elif order == "variance":
        assert bool((sorted_.var(0).diff() <= 1e-6).all())
    else:
        winners = sorted_.argmax(0)
        assert bool((winners.diff() >= 0).all())


@pytest.mark.parametrize("lens", list(LENSES))
@pytest.mark.parametrize("text", ["x", "x\nx", "\n".join(f"Sentence {n}." for n in range(12)), "word " * 600], ids=len)
def test_every_lens_for_awkward_texts(lens, text):
    app = written(text, lens=lens, operators="max,mean-max,stochastic,softmax-stochastic,last", mode="train")
    assert "error" not in said(app)


@pytest.mark.parametrize("temperature", [TEMPERATURES[0], TEMPERATURES[-1]])
@pytest.mark.parametrize("name", STOCHASTIC)
@pytest.mark.parametrize("count", [DRAW_COUNTS[0], DRAW_COUNTS[-1]])
def test_draws_at_the_ends_of_their_sliders(count, name, temperature):
    query = {"with": name, "draws": f"{count:g}", "temperature": f"{temperature:g}"}
    assert said(opened(lens="draws", **query)) == {}


def test_padding_is_bounded_by_the_encoders_room(encoder):
    for count in (encoder.limit, encoder.limit - 1, encoder.limit - 2, encoder.limit - 5):
        app = written("a " * (count - 2), lens="padding", padding="64")
        if count == encoder.limit:
            assert "no room" in one_sentence(app, "info")
        else:
            assert said(app) == {} and board(app)["hidden"]["height"] == encoder.limit
            assert ("padding" in [s.key.removeprefix("sentences.") for s in app.slider]) == (count < encoder.limit - 1)


@pytest.mark.parametrize(
    ("forget", "deaf"), [(False, False), (True, False), (True, True)], ids=["known", "forgotten", "deaf"]
)
def test_padding_changes_a_vector_only_where_it_is_forgotten(encoder, forget, deaf):
    query = {"padding": "5", "forget": "yes" if forget else "no", "deaf": "yes" if deaf else "no"}
    app = opened(lens="padding", operators="cls,mean,max,last", **query)
    count = len(encoder.encode(BANK[0]).pieces)
    right = encoder.encode(BANK[0], count + 5).hidden[-1]
    wrong = encoder.encode(BANK[0], count + 5, masked=not deaf).hidden[-1]
    shown = board(app)
    assert torch.equal(numbers(shown["hidden"]), wrong)
    assert sum(shown["mask"]) == (count + 5 if forget else count)
    if not forget:
        assert "With the mask every vector is right" in app.success[0].value
        return
    rows = {row["operator"]: row["error"] for row in datasets(app)["errors"]}
    used = torch.ones(1, count + 5) if forget else torch.arange(count + 5)[None] < count
    for name in ("cls", "mean", "max", "last"):
        truth = pool_sequence(right[None, :count], None, name)[0]
        false = pool_sequence(wrong[None], used, name)[0]
        assert rows[POOLINGS[name].label] == pytest.approx(float((false - truth).norm() / truth.norm()), abs=1e-5)
    assert (rows["Mean"] > 0.01) == forget and (rows["CLS"] > 1e-3) == deaf


def datasets(app: AppTest) -> dict[str, list[dict]]:
    """Every chart's data by name; charts that share a name one after the other."""
    found: dict[str, list[dict]] = {}
    for chart in app.get("vega_lite_chart"):
        for sent in chart.proto.datasets:
            rows = convert_arrow_bytes_to_pandas_df(sent.data.data).to_dict("records")
            found.setdefault(sent.name, []).extend(rows)
    return found


def test_the_speech_lens_shares_are_torchs(encoder):
    app = opened(lens="speech", operators="mean,max,softmax-stochastic,cls")
    hidden = encoder.encode(BANK[0]).hidden[-1]
    rows = {row["title"]: row for row in data(app, "poolviz_speech")["rows"]}
    winners = hidden.argmax(0).bincount(minlength=len(hidden))
    assert rows["Max"]["wins"] == winners.tolist()
    torch.testing.assert_close(torch.tensor(rows["Max"]["shares"]), winners / 384)
    torch.testing.assert_close(torch.tensor(rows["Mean"]["shares"]), torch.full((len(hidden),), 1 / len(hidden)))
    assert rows["Mean"]["wins"] == [0] * len(hidden)
    torch.testing.assert_close(
        torch.tensor(rows["Softmax-stochastic"]["shares"]), hidden.softmax(0).mean(1), atol=1e-6, rtol=1e-4
    )
    assert rows["CLS"]["shares"] == [1.0] + [0.0] * (len(hidden) - 1)


def test_the_pairs_lens_shows_cosines_and_ranks(encoder):
    app = opened(lens="pairs", operators="cls,max", pinned="2")
    vectors = {
        POOLINGS[name].label: torch.stack(
            [pool_sequence(encoder.encode(text).hidden[-1][None], None, name)[0] for text in BANK]
        )
        for name in ("cls", "max")
    }
    shown = datasets(app)
    for label, stacked in vectors.items():
        cells = torch.tensor([row["cosine"] for row in shown["cosines"] if row["operator"] == label]).reshape(4, 4)
        torch.testing.assert_close(cells, cosines(stacked).float())
        by_torch = torch.cosine_similarity(stacked[:, None], stacked[None], dim=-1)
        torch.testing.assert_close(cells, by_torch, atol=1e-5, rtol=0)
        places = {row["sentence"]: row["rank"] for row in shown["ranks"] if row["operator"] == label}
        others = sorted({1, 2, 4}, key=lambda n: -float(by_torch[2, n - 1]))
        assert [places[n] for n in others] == [1, 2, 3]


def test_one_sentence_has_no_pair():
    app = written("Alone.", lens="pairs")
    assert "two sentences" in one_sentence(app, "info")


def test_the_layers_lens_ends_at_one(encoder):
    rows = datasets(opened(lens="layers", operators="mean,max"))["layers"]
    hidden = encoder.encode(BANK[0]).hidden
    for name in ("mean", "max"):
        found = [row for row in rows if row["operator"] == POOLINGS[name].label and row["norm"]]
        pooled = pool_sequence(hidden, None, name)
        assert [row["layer"] for row in found[: len(hidden)]] == list(range(7))
        for row, vector in zip(found, pooled, strict=False):
            assert row["norm"] == pytest.approx(float(vector.norm()), rel=1e-5)
            assert row["cosine"] == pytest.approx(float(torch.cosine_similarity(vector, pooled[-1], dim=0)), abs=1e-5)


def test_no_pooling_is_a_hint():
    app = opened()
    healthy(app.multiselect(key=key("operators")).set_value([]).run())
    assert "Choose a pooling" in one_sentence(app, "info") and not app.get("bidi_component")
    assert address(app) == {"operators": ""}
    assert one_sentence(opened(operators=""), "info")
    healthy(app.multiselect(key=key("operators")).set_value(["last"]).run())
    assert said(app) == {} and [r["title"] for r in board(app)["readings"]] == [POOLINGS["last"].label]


# ---- sources


@pytest.mark.parametrize("phenomenon", list(grammar.PHENOMENA))
def test_minimal_pairs_and_their_next(phenomenon):
    app = opened(source="pairs", phenomenon=phenomenon)
    assert shown_texts(app) == [
        text for pair in grammar.minimal_pairs(phenomenon, 3, 0) for text in (pair.acceptable, pair.unacceptable)
    ]
    healthy(app.button(key="other_pairs").click().run())
    assert shown_texts(app)[0] == grammar.minimal_pairs(phenomenon, 3, 1)[0].acceptable
    assert app.query_params["pairs"] == "1" and said(app) == {}


def test_missing_cola_is_a_sentence_and_the_sentences_before_stay():
    app = opened(example="negation")
    healthy(app.selectbox(key=key("source")).set_value("cola").run())
    sentence = one_sentence(app, "error")
    assert "POOLVIZ_DATA" in sentence and "download" in sentence
    assert shown_texts(app) == list(sentences.EXAMPLES["negation"])
    assert any("stay on the page" in caption.value for caption in app.caption)
    assert "CoLA is not at hand" in one_sentence(opened(source="cola"), "error")


def test_a_download_of_cola_that_fails_is_a_sentence(monkeypatch):
    def refuse() -> None:
        raise InputError("CoLA could not be downloaded.")

    monkeypatch.setattr(sentences, "download_cola", refuse)
    app = opened(source="cola")
    next(b for b in app.button if b.label == "Download it").click()
    assert "could not be downloaded" in one_sentence(healthy(app.run()), "error") and board(app)


def test_cola_is_shown_where_its_files_are(monkeypatch, tmp_path):
    folder = tmp_path / "data" / "cola"
    folder.mkdir(parents=True)
    lines = [f"gj04\t{n % 2}\t{'' if n % 2 else '*'}\tSentence {n} of CoLA <b>." for n in range(6)]
    (folder / "in_domain_dev.tsv").write_text("\n".join(lines))
    (folder / "out_of_domain_dev.tsv").write_text("\n".join(lines[:3]))
    (folder / "in_domain_train.tsv").write_text("\n".join(lines))
    monkeypatch.setenv("POOLVIZ_DATA", str(tmp_path / "data"))
    app = opened(source="cola", cola="2")
    assert shown_texts(app) == [f"Sentence {n} of CoLA <b>." for n in (2, 3, 4, 5)] and said(app) == {}
    (picker,) = (s for s in app.selectbox if s.key == key("which"))
    assert [option[3] for option in picker.options] == ["*", "✓", "*", "✓"]  # as linguists judged
    assert len(shown_texts(opened(source="cola", cola="9593"))) == 4  # beyond these short files


# ---- a visitor's own text


def test_own_text_starts_with_one_to_change():
    app = opened()
    healthy(app.selectbox(key=key("source")).set_value("own").run())
    assert shown_texts(app) == choose_sentences.FIRST_TEXT.split("\n") and said(app) == {}


@pytest.mark.parametrize(
    "text",
    ["", "   ", " \n\t\n ", "\u200b\u200b\n\ufeff", "\x00\x01\x02", "\u3164\u2800", "\u202e"],
    ids=["empty", "spaces", "blank-lines", "zero-width", "control", "fillers", "turn"],
)
def test_nothing_readable_is_a_sentence_and_the_sentences_before_stay(text):
    app = written("First.\nSecond.")
    app.text_area(key=key("text")).set_value(text)
    assert "nothing that can be read" in one_sentence(healthy(app.run()), "error")
    assert shown_texts(app) == ["First.", "Second."]
    app.text_area(key=key("text")).set_value("Third.")
    assert said(healthy(app.run())) == {} and shown_texts(app) == ["Third."]


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("a" * 100_000, "warning", ["100,000", "2,000"]),
        ("ab " * 33_333, "warning", ["2,000"]),
        ("\n".join(f"Line {n}." for n in range(200)), "warning", ["200", "12"]),
        ("Bell\x07 and null\x00.", "warning", ["2 control characters"]),
        ("turn \u202e around", "warning", ["1 invisible character"]),
        ("x\n" * 100_000, "warning", ["12"]),
    ],
    ids=["100,000 letters", "100,000 in words", "200 lines", "control", "turn", "200,000 characters"],
)
def test_a_cut_text_is_announced(text, kind, words):
    app = written(text)
    told = " ".join(said(app)[kind])
    assert all(word in told for word in words), told
    assert "error" not in said(app) and board(app) and len(shown_texts(app)) <= sentences.MOST_SENTENCES


def test_one_word_600_times_is_cut_at_the_encoders_limit(encoder):
    app = written("word " * 600)
    (told,) = [element.value for element in app.markdown if "**Cut:**" in element.value]
    left_out = encoder.encode(sentences.read_lines("word " * 600)[0][0]).left_out
    assert f"reads {encoder.limit} tokens" in told and f"last {left_out:,}" in told and left_out > 100
    assert board(app)["hidden"]["height"] == encoder.limit


def test_zero_width_characters_between_letters_are_shown():
    app = written("zero\u200bwidth joi\u200dner \ufeff end")
    assert said(app) == {} and board(app)["hidden"]["height"] > 3


MARKUP = re.compile(r"(?<!\\)(?:[`*_{}\[\]()#$|~<>]|!(?=\[)|&(?=#?\w+;))")


def markdown_of(app: AppTest) -> list[str]:
    """All text that Streamlit renders as Markdown."""
    kinds = ("markdown", "caption", "error", "warning", "info", "success")
    texts = [element.value for kind in kinds for element in getattr(app, kind)]
    labels = [element.label for kind in ("button", "toggle", "slider", "selectbox") for element in getattr(app, kind)]
    return texts + labels + [element.label for element in app.expander]


@pytest.mark.parametrize("lens", list(LENSES))
@pytest.mark.parametrize("several", [False, True], ids=["alone", "in-a-list"])
def test_a_typed_text_is_never_markup(lens, several):
    texts = ["\n".join(HOSTILE)] if several else list(HOSTILE)
    app = written(texts[0], lens=lens)
    for text in texts:
        app.text_area(key=key("text")).set_value(text)
        healthy(app.run())
        for shown in markdown_of(app):
            for line in text.split("\n"):
                assert not re.search(rf"(^|\n|\*\*|\d\. ){re.escape(line)}", shown), shown
            assert not re.search(r"(?<!\\)\]\(|(?<!\\)<\w|javascript:|http://evil|www\.evil|me@evil", shown), shown
        for element in app.markdown:
            assert not element.proto.allow_html


@pytest.mark.parametrize("text", [*HOSTILE, "1. one", "&lt;b&gt; &copy; AT&amp;T", "a -> b", ":heart:", "+ x"])
def test_a_lone_sentence_stands_escaped_in_the_head(text):
    app = written(text)
    heads = [m.value for m in app.markdown if m.value == f"**{plain(text)}**"]
    assert len(heads) == 1
    assert not MARKUP.search(heads[0][2:-2]), heads[0]
    unescaped = re.sub(r"\\([^a-zA-Z0-9\s])", r"\1", heads[0][2:-2])
    assert re.sub("[\u2060\u200b]", "", unescaped) == text


# ---- the encoder


@pytest.fixture
def no_network(monkeypatch):
    """A Hub that cannot be reached, and a count of the questions to it."""
    asked = []

    def refuse(*arguments, **named):
        asked.append(arguments)
        raise ConnectionError("no network")

    def nothing_here(*arguments, **named):
        raise LocalEntryNotFoundError("not in the cache")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", refuse)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", nothing_here)
    return asked


@pytest.mark.parametrize("name", ["owner/no-such-model", "../../etc/passwd", "<b>x</b>", "a b c", "![x](y)"])
def test_an_unknown_encoder_is_one_sentence_and_the_default_stays(no_network, name):
    app = opened()
    app.text_input(key=key("encoder")).set_value(name)
    sentence = one_sentence(healthy(app.run()), "error")
    assert sentence.endswith(".") and name in sentence
    assert board(app)["title"].split("\n")[1].startswith(ENCODER)
    assert any(f"Still used: {ENCODER}" in caption.value for caption in app.caption)
    assert not any(re.search(r"(?<!\\)[\[<]", shown.split("Still used")[0]) for shown in [app.error[0].value])
    app.text_input(key=key("encoder")).set_value("")
    assert said(healthy(app.run())) == {} and address(app) == {}


def test_an_unreachable_hub_is_not_asked_at_each_change(no_network):
    app = opened(encoder="owner/another-model")
    assert no_network == []  # a link alone asks nobody
    next(button for button in app.button if button.label == "Ask the Hub").click()
    assert one_sentence(healthy(app.run()), "error")
    first = len(no_network)
    assert first > 0
    for temperature in (0.1, 0.3, 3.0):
        app.select_slider(key=key("temperature")).set_value(temperature)
        assert one_sentence(healthy(app.run()), "error")
    assert len(no_network) == first


def test_without_any_encoder_the_page_says_how_to_get_one(monkeypatch):
    def absent(name: str) -> Encoder:
        raise InputError("The default encoder is not installed here: bring it with `pip install it`.")

    st.cache_resource.clear()
    monkeypatch.setattr(choose_sentences, "load_encoder", absent)
    app = opened()
    told = said(app)
    assert len(told["error"]) == len(told["info"]) == 1 and "pip install" in told["error"][0]
    assert not app.get("bidi_component")


def test_a_deeper_encoder_gives_way_to_a_shallower_one(monkeypatch, encoder):
    app = opened(layer="6")
    layers(app).set_value(2).run()
    assert torch.equal(numbers(board(app)["hidden"]), encoder.encode(BANK[0]).hidden[2])
    assert app.query_params == {"layer": "2"}


def test_the_encoder_runs_once_for_a_sentence(monkeypatch):
    st.cache_data.clear()
    runs = []
    encode = Encoder.encode

    def counted(self, *arguments):
        runs.append(arguments)
        return encode(self, *arguments)

    monkeypatch.setattr(Encoder, "encode", counted)
    app = opened()
    assert len(runs) == 1
    for change in range(4):
        app.select_slider(key=key("temperature")).set_value(TEMPERATURES[change])
        layers(app).set_value(change)
        healthy(app.run())
    for lens in ("speech", "pieces", "layers", "draws", "tokens"):
        healthy(app.segmented_control(key=key("lens")).set_value(lens).run())
    healthy(app.multiselect(key=key("operators")).set_value(["max", "stochastic"]).run())
    opened()  # and once for all visitors
    assert len(runs) == 1


# ---- the address

SAMPLES = {
    "source": list(SOURCES),
    "example": list(sentences.EXAMPLES),
    "text": ["One.\nTwo & <three>?", "القطة 猫 👩🏽‍🔬"],
    "phenomenon": list(grammar.PHENOMENA),
    "pairs": [0, 7, 999_999],
    "cola": [0, 9000],
    "which": [0, 1, 11],
    "encoder": ["owner/model"],
    "layer": [0, 3, 6],
    "operators": [["last"], ["mean", "max", "mean-max"], list(OPERATORS[:5]), list(OPERATORS[-5:])],
    "mode": ["test", "train"],
    "seed": [0, 1, 999_999],
    "temperature": list(TEMPERATURES),
    "lens": list(LENSES),
    "order": ["winner", "variance", "index"],
    "place": [(0, 0), (3, 17), (9999, 9999)],
    "measure": ["weight", "vector"],
    "without": [True, False],
    "padding": [0, 1, 8, 64],
    "forget": [True, False],
    "deaf": [True, False],
    "with": list(STOCHASTIC),
    "draws": list(DRAW_COUNTS),
    "pinned": [0, 1, 11],
}
BAD = {
    "source": ["Examples", "upload", ""],
    "example": ["banks", ""],
    "phenomenon": ["<b>", ""],
    "pairs": ["-1", "1e3", "1000000"],
    "cola": ["9594", "x"],
    "which": ["12", "-1", "²"],
    "layer": ["-1", "last", "1.5", "1000"],
    "operators": ["average", "mean,foo", "cls,mean,max,last,attention,stochastic", "MEAN"],
    "mode": ["training"],
    "measure": ["share"],
    "without": ["true"],
    "seed": ["-1", "1000000"],
    "temperature": ["0", "5", "nan"],
    "lens": ["outputs", ""],
    "order": ["index ", ""],
    "place": ["abc", "1", "-1,0", "99999,0"],
    "padding": ["-1", "65", "eight"],
    "forget": ["true"],
    "deaf": ["1"],
    "with": ["max", ""],
    "draws": ["11", "1e9"],
    "pinned": ["12", "one"],
}


def test_the_tables_here_cover_every_parameter():
    assert {key(name) for name in SAMPLES} == set(PARAMS)
    assert set(SAMPLES) - set(BAD) == {"text", "encoder"}


@pytest.mark.parametrize("name", list(SAMPLES))
def test_values_survive_the_address(name):
    param = PARAMS[key(name)]
    for value in SAMPLES[name] + ([] if param.default is None else [param.default]):
        assert param.parse(param.show(value)) == value


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in BAD.items() for text in texts])
def test_a_bad_value_is_told_and_does_not_stick(name, text):
    good = {"layer": "2"} if name != "layer" else {"order": "index"}
    app = opened(**{name: text}, **good)
    (warning,) = said(app)["warning"]
    assert f"- {name} = " in warning and len(warning) < 600
    assert app.query_params == good
    healthy(app.run())
    assert said(app) == {}  # told once


WIDGETS = {
    "selectbox": ["source", "example", "phenomenon", "which", "with", "pinned"],
    "number_input": ["seed", "cola"],
    "select_slider": ["temperature", "draws"],
    "slider": ["padding"],
    "toggle": ["forget", "deaf"],
    "multiselect": ["operators"],
    "segmented_control": ["mode", "lens", "order"],
    "text_area": ["text"],
}
STATES = [
    {"example": "negation", "which": "3", "layer": "2", "order": "index", "place": "2,300"},
    {"source": "own", "text": "One & two.\nDrei <b>.", "which": "1", "temperature": "0.1", "layer": "5"},
    {"source": "pairs", "phenomenon": list(grammar.PHENOMENA)[-1], "pairs": "12", "layer": "0"},
    {"operators": "stochastic,mean-max", "mode": "train", "seed": "77", "layer": "5", "order": "variance"},
    {"lens": "padding", "padding": "3", "deaf": "yes", "layer": "5", "place": "12,0"},
    {"lens": "padding", "forget": "no", "layer": "5"},
    {"lens": "draws", "with": "stochastic", "draws": "30", "seed": "5", "layer": "5"},
    {"lens": "pairs", "pinned": "2", "operators": "cls", "layer": "5"},
    {"lens": "speech", "operators": "last", "layer": "1"},
]


@pytest.mark.parametrize("state", STATES, ids=lambda state: "-".join(state)[:40])
def test_a_link_sets_its_widgets_and_stays_as_it_is(state):
    app = opened(**state)
    assert said(app) == {} and app.query_params == state
    met = set()
    for kind, names in WIDGETS.items():
        for widget in getattr(app, kind):
            name = (widget.key or "").removeprefix("sentences.")
            if name in names and name in state:
                assert widget.value == PARAMS[key(name)].parse(state[name]), name
                met.add(name)
    assert layers(app).value == int(state["layer"])
    assert met == set(state) - {"place", "pairs", "layer"} - ({"seed"} if "mode" not in state else set())
    if "place" in state:
        assert ",".join(map(str, board(app)["place"])) == state["place"]
    again = opened(**state)
    assert [e.proto.json for e in again.get("bidi_component")] == [e.proto.json for e in app.get("bidi_component")]
    assert datasets(again) == datasets(app)


@pytest.mark.parametrize("seed", range(16))
def test_any_good_address_opens_and_opens_again_alike(seed):
    source = random.Random(seed)
    names = source.sample([name for name in SAMPLES if name != "encoder"], 9)
    query = {name: PARAMS[key(name)].show(source.choice(SAMPLES[name])) for name in names}
    app = opened(**opened(**query).query_params)
    again = opened(**app.query_params)
    assert again.query_params == app.query_params and said(again) == said(app)
    assert [e.proto.json for e in again.get("bidi_component")] == [e.proto.json for e in app.get("bidi_component")]


@pytest.mark.parametrize("seed", range(8))
def test_noise_in_an_address_opens_the_page(seed):
    source = random.Random(seed)
    alphabet = string.printable + "²٣é\u202e\u200b"
    query = {name: "".join(source.choice(alphabet) for _ in range(source.randrange(12))) for name in SAMPLES}
    del query["encoder"]  # which would ask the Hub
    opened(**query)


def test_defaults_leave_the_address_empty():
    given = {name: PARAMS[key(name)] for name in SAMPLES if PARAMS[key(name)].default is not None}
    app = opened(**{name: param.show(param.default) for name, param in given.items()})
    assert address(app) == {} and said(app) == {}
    app.select_slider(key=key("temperature")).set_value(3.0).run()
    assert address(app) == {"temperature": "3"}
    app.select_slider(key=key("temperature")).set_value(1.0).run()
    assert address(app) == {}


def test_an_untouched_page_has_an_empty_address():
    assert opened().query_params == {}


@pytest.mark.parametrize(
    ("query", "name", "last"), [({"which": "9"}, "which", 3), ({"lens": "pairs", "pinned": "9"}, "pinned", 3)]
)
def test_a_number_beyond_the_sentences_is_told_and_the_last_is_shown(query, name, last):
    app = opened(**query)
    assert f"{name} = " in one_sentence(app, "warning")
    assert app.query_params[name] == str(last) and app.selectbox(key=key(name)).value == last


@pytest.mark.parametrize("query", [{"layer": "99"}, {"place": "300,9999"}, {"source": "pairs", "which": "8"}], ids=str)
def test_what_lies_beyond_this_sentence_is_told(query):
    (name,) = set(query) - {"source"}
    assert f"{name} = " in one_sentence(opened(**query), "warning")


def test_a_number_of_sentences_that_shrinks_keeps_the_page():
    app = opened(example="acceptable", which="5", lens="pairs", pinned="5")
    healthy(app.selectbox(key=key("example")).set_value("bank").run())
    assert said(app) == {} and app.query_params["which"] == app.query_params["pinned"] == "3"
    app = written("One.")
    healthy(app.segmented_control(key=key("lens")).set_value("pairs").run())
    assert one_sentence(app, "info")


def test_a_text_too_long_for_a_link_stays_out_of_it():
    long = "\n".join(["A sentence that goes on and on. " * 20] * 6)
    app = written(long)
    assert "text" not in app.query_params and app.query_params["source"] == "own"
    assert len(shown_texts(app)) == 6
    healthy(app.text_area(key=key("text")).set_value("Short.").run())
    assert app.query_params["text"] == "Short."


def test_a_visitor_is_told_that_a_text_is_too_long_for_the_link():
    app = written("\n".join(["A sentence that goes on and on. " * 20] * 6))
    told = [element.value for element in [*app.caption, *app.info, *app.warning]]
    assert any("link" in text or "address" in text for text in told), told


def test_a_click_is_kept_and_opens_again():
    app = opened()
    send(app, "poolviz_tokens", place="4,100")
    assert board(app)["place"] == [4, 100] and address(app) == {"place": "4,100"} and not app.exception
    assert board(opened(**app.query_params))["place"] == [4, 100]
    healthy(app.segmented_control(key=key("lens")).set_value("padding").run())
    assert board(app)["place"] == [4, 100]
    written_short = healthy(app.selectbox(key=key("source")).set_value("own").run())
    written_short.text_area(key=key("text")).set_value("x")
    healthy(app.segmented_control(key=key("lens")).set_value("tokens").run())
    assert board(app)["place"] == [2, 100] and said(app) == {}


# ---- two pages


def test_two_pages_keep_their_own_values():
    app = opened(temperature="0.1", operators="last,softmax-stochastic", layer="3", seed="4", mode="train")
    mine = dict(app.query_params)
    app.query_params.clear()
    healthy(at(app, "").run())
    assert app.query_params == {} and data(app)["outputs"][0]["title"] == "Max"
    app.multiselect(key="operators").set_value(["softmax-stochastic"]).run()
    app.select_slider(key="temperature").set_value(30.0).run()
    app.segmented_control(key="lens").set_value("chance").run()
    theirs = dict(healthy(app).query_params)
    assert theirs == {"operators": "softmax-stochastic", "temperature": "30", "lens": "chance"}
    app.query_params.clear()
    healthy(at(app, "sentences").run())
    assert app.query_params == mine and said(app) == {}
    assert app.select_slider(key=key("temperature")).value == 0.1
    app.query_params.clear()
    healthy(at(app, "").run())
    assert app.query_params == theirs and app.select_slider(key="temperature").value == 30.0


def test_a_pages_bad_link_is_told_on_that_page():
    app = opened(temperature="5")
    assert "temperature" in one_sentence(app, "warning")
    app.query_params.clear()
    healthy(at(app, "").run())
    assert said(app) == {}


# ---- downloads


@pytest.fixture
def saved(monkeypatch):
    """What the page would give to keep: its picture and numbers."""
    files = {}

    def keep(picture, table, more) -> None:
        files.update(picture=picture, table=table)

    monkeypatch.setattr(sentences_page, "download_menu", keep)
    return files


SAVES = {
    "tokens": {},
    "speech": {"operators": "max,mean-max"},
    "pieces": {"example": "scripts", "which": "4"},
    "layers": {},
    "padding": {"padding": "3"},
    "draws": {"draws": "30"},
    "pairs": {"pinned": "1"},
}


@pytest.mark.parametrize("lens", list(LENSES))
def test_downloads_are_of_their_kind(saved, lens):
    opened(lens=lens, **SAVES[lens])
    png = Image.open(io.BytesIO(saved["picture"]("png")))
    assert png.format == "PNG" and min(png.size) > 100
    assert len(set(png.convert("L").resize((64, 64)).tobytes())) > 3  # not blank
    svg = saved["picture"]("svg").decode()
    assert ET.fromstring(svg).tag.endswith("svg") and ENCODER in svg
    table = saved["table"]().decode()
    rows = [line for line in table.split("\n") if line and not line.startswith("#")]
    assert table.startswith("# ") and len(rows) > 3 and len({len(row) for row in csv.reader(rows[:2])}) == 1


def test_the_numbers_to_keep_are_the_boards(saved, encoder):
    opened(operators="mean,max", layer="4")
    table = saved["table"]().decode()
    hidden = encoder.encode(BANK[0]).hidden[4]
    rows = list(csv.reader(line for line in table.split("\n") if line and not line.startswith("#")))
    values = torch.tensor([[float(cell) for cell in row[1:]] for row in rows[1:]])
    torch.testing.assert_close(values, torch.cat([hidden, hidden.mean(0)[None], hidden.max(0).values[None]]))
    assert [row[0] for row in rows[-2:]] == ["Mean", "Max"] and "layer 4" in table


@pytest.mark.parametrize("lens", list(LENSES))
def test_a_hostile_text_is_text_in_downloads(saved, lens):
    app = opened(source="own", text="<script>alert(1)</script> & \"q\", '=1+1'\n=cmd|' /C calc'!A0", lens=lens)
    assert "error" not in said(app)
    svg = saved["picture"]("svg").decode()
    assert "<script" not in svg and ET.fromstring(svg) is not None
    assert saved["picture"]("png").startswith(b"\x89PNG") and saved["table"]()


def test_a_long_text_is_saved_too(saved):
    written("word " * 600)
    assert Image.open(io.BytesIO(saved["picture"]("png"))).width > 500
    rows = list(csv.reader(line for line in saved["table"]().decode().split("\n") if line and not line.startswith("#")))
    assert len(rows) == 1 + 256 + 4 and {len(row) for row in rows} == {385}
