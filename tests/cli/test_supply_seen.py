"""Files that cannot be brought are told before anything is tried, and do not count as a choice."""

import json

import pytest

SMOLLM2 = "huggingfacetb/smollm2-135m-instruct"


def test_offline_without_files_nothing_is_chosen_and_the_next_step_is_named(run):
    ran = run("select", SMOLLM2, "--engine", "llama.cpp", NIMCTL_OFFLINE="1")
    assert ran.returncode == 3
    assert "its files are not in the cache, and offline nobody may be asked" in ran.stderr
    assert "download it once with a network" in ran.stderr


def test_the_listing_keeps_them_in_a_group_of_their_own(run):
    out = run("list-profiles", SMOLLM2, NIMCTL_OFFLINE="1").stdout
    head, _, rest = out.partition("- Compatible with system but its files cannot be brought now:")
    assert "runnable: <None>" in head
    assert "llama.cpp-q4_1-tp1-pp1" in rest.partition("low memory")[0]


def test_another_machine_is_not_judged_by_the_disk_and_the_logins_of_this_one(run):
    document = json.loads(
        run("list-profiles", SMOLLM2, "--hardware", "h100", "--json", NIMCTL_OFFLINE="1").stdout
    )
    assert {f["check"] for p in document["profiles"] for f in p["findings"]}.isdisjoint(
        {"offline", "disk", "licence"}
    )


@pytest.mark.parametrize(
    ("environment", "shut_out"),
    [({}, True), ({"HF_TOKEN": "hf_x"}, False), ({"HF_ENDPOINT": "http://localhost:1"}, False)],
)
def test_a_gated_repository_asks_for_a_login_unless_one_is_there(run, environment, shut_out):
    document = json.loads(
        run("list-profiles", "meta/llama-3.1-8b-instruct", "--json", **environment).stdout
    )
    checks = {f["check"] for p in document["profiles"] for f in p["findings"]}
    assert ("licence" in checks) is shut_out
