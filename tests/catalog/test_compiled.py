"""The shipped manifests in compiled form: the same values, and never those of another file."""

import subprocess
import sys

import pytest

from nimctl.catalog import compiled, load_catalog, shipped_manifest_dir
from nimctl.catalog.compiled import COMPILED_FILE, find_compiled
from nimctl.catalog.folders import list_manifest_files
from nimctl.catalog.parse import parse_manifest

FILES = list_manifest_files([shipped_manifest_dir()])


@pytest.mark.parametrize("model", sorted(FILES))
def test_it_says_what_the_file_says(model):
    (path,) = FILES[model]
    content = path.read_bytes()
    found = find_compiled(content, origin=str(path), model=model)
    hint = "run `python -m nimctl.catalog.compiled`"
    assert found == parse_manifest(content, origin=str(path), model=model), hint


def test_it_is_what_the_command_writes(tmp_path, monkeypatch):
    written = tmp_path / "shipped.json"
    monkeypatch.setattr(compiled, "COMPILED_FILE", written)
    compiled.main()
    assert written.read_bytes() == COMPILED_FILE.read_bytes()


def test_file_that_was_edited_is_read_itself(tmp_path):
    model = "huggingfacetb/smollm2-135m-instruct"
    (path,) = FILES[model]
    edited = path.read_text().replace("title: ", "title: My ", 1)
    copy = tmp_path / f"{model}.yaml"
    copy.parent.mkdir()
    copy.write_text(edited)
    assert find_compiled(edited.encode(), origin=str(copy), model=model) is None
    assert load_catalog(shipped=tmp_path).find(model).title.startswith("My ")


def test_same_content_in_another_place_is_another_model():
    (path,) = FILES["huggingfacetb/smollm2-135m-instruct"]
    assert find_compiled(path.read_bytes(), origin=str(path), model="acme/toy") is None


def test_finding_a_shipped_model_loads_neither_yaml_nor_pydantic():
    program = (
        "import sys; from nimctl.catalog import load_catalog; "
        "load_catalog().find('smollm2-135m-instruct'); load_catalog().manifests(); "
        "sys.exit(bool({'yaml', 'pydantic'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
