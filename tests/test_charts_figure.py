"""Every chart of the sentence page as a picture and as numbers: what a reader of the saved file finds in it."""

import io
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from poolviz.charts import figure as figures_module
from poolviz.charts import tokens
from poolviz.charts.cloud import cloud_figures, draw_cloud
from poolviz.charts.confusion import confusion_figure, confusion_rows
from poolviz.charts.figure import Figure
from poolviz.charts.padding import by_padding, forgotten, padding_figures
from poolviz.charts.pictures import render
from poolviz.charts.similarity import cosines, layer_figures, pair_figures, vectors
from poolviz.charts.speech import piece_rows, pieces_figure, share_rows, speech_figure
from poolviz.charts.token_picture import token_chart
from poolviz.charts.tokens import TokenSetting, TokenStage
from poolviz.inputs.encoder import Piece
from poolviz.pooling import POOLINGS

torch.set_num_threads(1)
OPERATORS = tuple(name for name, pooling in POOLINGS.items() if pooling.for_sequences)
NASTY = "<script>alert(\"1\")</script> & 'it' \\ {{x}} % \u200fالقطة 猫 🐈"
TITLE = f"{NASTY}\nall-MiniLM-L6-v2, layer 6, test mode"
T, H, PADDED = 6, 24, 3
MASK = torch.arange(T + PADDED) < T
SETTING = TokenSetting(("cls", "mean", "max", "mean-max", "softmax-stochastic"))


def hidden(length: int = T + PADDED, width: int = H, seed: int = 0) -> torch.Tensor:
    return torch.randn(length, width, generator=torch.Generator().manual_seed(seed))


def sentence(*words: str, padded: int = 0) -> list[Piece]:
    named = [
        Piece(f"##{i}" if i % 2 else word, i, "inside" if i % 2 else "word", word, i, " ")
        for i, word in enumerate(words)
    ]
    first, last = Piece("[CLS]", 101, "special", "", -1, ""), Piece("[SEP]", 102, "special", "", -1, "")
    return [first, *named, last, *[Piece("[PAD]", 0, "padding", "", -1, "")] * padded]


PIECES = sentence("<script>", '"', "猫", "a,b", padded=PADDED)


def all_figures(setting: TokenSetting = SETTING) -> dict[str, list[Figure]]:
    x = hidden()
    readings = tokens.read(x, MASK, setting)
    rows = forgotten(x, x, MASK, torch.ones_like(MASK), setting)
    layers = torch.stack([hidden(seed=layer) for layer in range(4)])
    drawn = draw_cloud(x, MASK, setting, "softmax-stochastic", 120)
    return {
        "speech": [speech_figure(PIECES, readings)],
        "pieces": [pieces_figure(PIECES)],
        "layers": layer_figures(layers, MASK, setting, 2),
        "padding": padding_figures(rows, by_padding(x, MASK, setting), setting, 2, False),
        "draws": cloud_figures(drawn),
        "pairs": pair_figures([hidden(n, seed=n) for n in (3, 5, 4)], setting, 1),
    }


LENSES = tuple(all_figures())


def names_of(spec: object) -> set[str]:
    """Data sets that a Vega-Lite spec asks for."""
    if isinstance(spec, list):
        return set().union(*map(names_of, spec))
    if not isinstance(spec, dict):
        return set()
    own = {spec["data"]["name"]} if isinstance(spec.get("data"), dict) and "name" in spec["data"] else set()
    return own.union(*map(names_of, spec.values()))


def fields_of(spec: object) -> set[str]:
    """Columns that it encodes."""
    if isinstance(spec, list):
        return set().union(*map(fields_of, spec))
    if not isinstance(spec, dict):
        return set()
    own = {spec["field"]} if isinstance(spec.get("field"), str) else set()
    return own.union(*map(fields_of, spec.values()))


def words_of(svg: bytes) -> list[str]:
    """What the picture says; fails unless it is XML."""
    root = ElementTree.fromstring(svg)
    return ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]


def looked_at(png: bytes) -> Image.Image:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    image = Image.open(io.BytesIO(png))
    image.load()
    assert len(image.convert("RGB").getcolors(1 << 24)) > 10
    return image


# ---- charts


@pytest.mark.parametrize("operators", [SETTING.operators, OPERATORS, ("mean",)], ids=len)
@pytest.mark.parametrize("lens", LENSES)
def test_charts_are_valid_and_get_the_data_that_they_name(lens, operators):
    for figure in all_figures(TokenSetting(operators))[lens]:
        spec = figure.builder(*figure.arguments).to_dict()  # altair validates it
        assert names_of(spec) == set(figure.datasets) and "datasets" not in spec
        hash(figure.arguments)
        columns = set().union(*(row for rows in figure.datasets.values() for row in rows))
        computed = set(re.findall(r"'as': '(\w+)'", str(spec)))
        assert fields_of(spec) <= columns | computed
        assert figure.heading and figure.alt


@pytest.mark.parametrize("lens", LENSES)
def test_pictures_are_png_of_a_plausible_size(lens):
    image = looked_at(figures_module.picture(all_figures()[lens], TITLE, "png"))
    assert 500 < image.width < 5000 and 300 < image.height < 6000


@pytest.mark.parametrize("lens", LENSES)
def test_pictures_are_svg_that_says_headings_and_caption_as_text(lens):
    figures = all_figures()[lens]
    svg = figures_module.picture(figures, TITLE, "svg")
    words = words_of(svg)
    said = " ".join(words)
    for figure in figures:
        assert figure.heading in said and figure.note in said
    assert any(NASTY in each for each in words) and any("layer 6" in each for each in words)
    tags = {element.tag.split("}")[-1] for element in ElementTree.fromstring(svg).iter()}
    assert "script" not in tags and not [tag for tag in tags if tag.startswith("foreign")]


def test_every_matrix_of_a_picture_keeps_its_own_numbers():
    """They share a builder, and the name of its data set."""
    sentences, setting = [hidden(n, seed=n) for n in (3, 5, 4)], TokenSetting(("cls", "mean", "max", "last"))
    svg = figures_module.picture(pair_figures(sentences, setting, 0), "t", "svg")
    said = words_of(svg)
    for name in setting.operators:
        value = float(cosines(vectors(sentences, setting, name))[1, 2])
        text = f"{value:.2f}".replace("-", "\u2212")
        assert said.count(text) >= 2, (name, text)  # above and below the diagonal


def test_making_a_picture_leaves_the_figures_as_they_were():
    figures = all_figures()["padding"]
    before = [{name: [dict(row) for row in rows] for name, rows in figure.datasets.items()} for figure in figures]
    figures_module.picture(figures, "t", "svg")
    assert [figure.datasets for figure in figures] == before


def test_twelve_sentences_and_seven_operators_fit_a_picture():
    setting = TokenSetting(OPERATORS[:7])
    figures = pair_figures([hidden(3, seed=n) for n in range(12)], setting, 11)
    image = looked_at(figures_module.picture(figures, "t", "png"))
    assert image.width < 4000 and image.height < 8000


def test_a_long_sentence_does_not_stretch_the_picture():
    figures = all_figures()["padding"]
    image = looked_at(figures_module.picture(figures, "a long sentence " * 120 + "\nsettings", "png"))
    assert image.width < 5000


# ---- numbers


def tables_of(text: str) -> dict[str, pd.DataFrame]:
    """Heading and name -> table, as a reader would take the file apart."""
    tables = {}
    for part in re.split(r"\n(?=# )", text):
        name, _, rest = part.partition("\n")
        if rest.strip():
            tables[name.removeprefix("# ")] = pd.read_csv(io.StringIO(rest), keep_default_na=False)
    return tables


@pytest.mark.parametrize("lens", LENSES)
def test_numbers_come_back(lens):
    figures = all_figures()[lens]
    text = figures_module.numbers(figures, TITLE)
    assert text.startswith("".join(f"# {line}\n" for line in TITLE.split("\n")))
    tables = tables_of(text)
    expected = {f"{figure.heading}: {name}": rows for figure in figures for name, rows in figure.datasets.items()}
    assert set(tables) == set(expected)
    for name, rows in expected.items():
        assert len(tables[name]) == len(rows)
        for column in rows[0]:
            values = [row[column] for row in rows]
            if isinstance(values[0], str):
                assert tables[name][column].astype(str).tolist() == values
            else:
                read = pd.to_numeric(tables[name][column], errors="coerce")  # an empty cell is no number
                np.testing.assert_allclose(read, np.array(values, dtype=float), rtol=1e-12)


# ---- shares and pieces


def test_share_rows_tell_of_every_token_and_operator():
    readings = tokens.read(hidden(), MASK, SETTING)
    rows = share_rows(PIECES, readings)
    assert len(rows) == len(PIECES) * len(readings) == 9 * 6
    assert [row["token"] for row in rows[:3]] == ["0: [CLS]", "1: <script>", '2: "']
    table = pd.DataFrame(rows)
    for reading in readings:
        mine = table[table["operator"] == reading.label]
        assert mine["share"].sum() == pytest.approx(1, abs=1e-5) and mine["position"].tolist() == list(range(9))
        assert mine["dimensions won"].tolist() == reading.wins.tolist()
    winners = table[table["operator"] == POOLINGS["max"].label].set_index("position")["dimensions won"]
    counts = np.bincount(hidden()[:T].numpy().argmax(0), minlength=T + PADDED)
    np.testing.assert_array_equal(winners.to_numpy(), counts)


def test_the_same_word_twice_has_two_bars():
    pieces = sentence("the", "the", "the")
    rows = share_rows(pieces, tokens.read(hidden(5), torch.ones(5, dtype=torch.bool), TokenSetting(("max",))))
    assert len({row["token"] for row in rows}) == 5


def test_piece_rows_tell_places_of_characters():
    rows = piece_rows([*PIECES[:2], Piece("Ġ", 7, "word", "", 4, "  "), PIECES[-1]])
    assert [row["what it is"] for row in rows] == ["special token", "word", "mark", "padding"]
    assert [row["characters"] for row in rows] == ["", "0:8", "", ""]
    assert [row["number in the vocabulary"] for row in rows] == [101, 0, 7, 0]


# ---- the heatmap to keep


def stage(length: int, width: int, operators: tuple[str, ...] = SETTING.operators) -> TokenStage:
    x, mask = hidden(length, width), torch.ones(length, dtype=torch.bool)
    pieces = sentence(*(f"word{i}" if i else "<script>" for i in range(length - 2)))
    readings = tokens.read(x, mask, TokenSetting(operators))
    return TokenStage(TITLE, pieces, x, mask, readings, tokens.dimension_order(x, mask, "winner"))


@pytest.mark.parametrize(("length", "width"), [(2, 384), (9, 384), (60, 16), (256, 768)])
def test_a_heatmap_of_any_sentence_is_a_picture_of_a_plausible_size(length, width):
    image = looked_at(render(token_chart(stage(length, width)), "png"))
    assert 2000 < image.width < 3000 and 400 < image.height < 2600


def test_the_heatmap_says_tokens_operators_and_caption_as_text():
    made = stage(9, 384)
    svg = render(token_chart(made), "svg")
    said = words_of(svg)
    assert {"[CLS]", "<script>", "word6", "[SEP]"} <= set(said) and NASTY in said
    assert {reading.label for reading in made.readings} <= set(said)
    assert b"<script" not in svg


def test_a_long_heatmap_leaves_out_names_that_cannot_be_read():
    assert "word1" in words_of(render(token_chart(stage(60, 8)), "svg"))
    assert "word1" not in words_of(render(token_chart(stage(256, 8)), "svg"))


def test_the_heatmap_shows_every_number_in_the_stages_order():
    """The first picture's pixels, cell by cell, are the colours of the hidden states."""
    import base64

    from poolviz.charts.colour import DIVERGING
    from poolviz.charts.pictures import colourise

    made = stage(4, 20, ("mean",))
    spec = token_chart(made).to_dict()
    (first,) = spec["datasets"][spec["layer"][0]["data"]["name"]]
    url = first["url"]
    image = np.array(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGBA"))
    tall, wide = image.shape[0] // 4, image.shape[1] // 20  # pixels of a cell
    assert image.shape[:2] == (4 * tall, 20 * wide)
    expected = colourise(made.hidden[:, made.order], made.value_range, DIVERGING)
    np.testing.assert_array_equal(image[tall // 2 :: tall, wide // 2 :: wide], expected)


@pytest.mark.parametrize("operators", [OPERATORS[:1], OPERATORS], ids=len)
def test_a_heatmap_has_room_for_any_number_of_operators(operators):
    image = looked_at(render(token_chart(stage(5, 30, operators)), "png"))
    assert image.height < 2000


def fills(svg: bytes) -> dict[tuple[str, str], int]:
    """How often each fill and opacity occurs."""
    found = re.findall(rb'fill="(#[0-9a-fA-F]{6})"[^>]*?opacity="([0-9.]+)"', svg)
    return {pair: found.count(pair) for pair in found}


def test_two_figures_of_one_kind_keep_their_own_colours_in_one_picture():
    """Vega-Lite merges views and selections of one name: the second matrix's shading was drawn over the first one's."""
    classes = ("no", "yes")
    pair = [
        confusion_figure(confusion_rows(labels, guesses, classes), classes)
        for labels, guesses in (([0, 0, 1, 1], [0, 0, 1, 1]), ([0, 0, 1, 1], [1, 1, 0, 0]))
    ]
    alone = [fills(figures_module.picture([each], "t", "svg")) for each in pair]
    together = fills(figures_module.picture(pair, "t", "svg"))
    assert len(alone[0]) > 1 and alone[0] != alone[1]
    assert together == {key: alone[0].get(key, 0) + alone[1].get(key, 0) for key in {**alone[0], **alone[1]}}


def test_a_long_caption_is_wrapped_and_not_cut():
    words = [f"word{number}" for number in range(60)]
    svg = figures_module.picture([speech_figure(PIECES, [])], " ".join(words), "svg").decode()
    assert all(word in svg for word in words) and "…" not in svg
