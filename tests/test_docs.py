"""What docs/cloud.md says is so."""

import re
from pathlib import Path

import pytest
import yaml

from forebay.engines.vllm import VLLM
from forebay.resources.entries import policy_entry
from forebay.resources.policy import PolicySpec
from forebay.resources.pool import Scaling
from forebay.resources.reasons import ConditionReason, ConditionType, EventReason, ScaleReason
from forebay.resources.terms import WakeAfter
from forebay.router import metrics
from forebay.rules.portability import OFF

REPO = Path(__file__).resolve().parents[1]
CLOUD = (REPO / "docs" / "cloud.md").read_text()


@pytest.mark.parametrize("example", re.findall(r"```yaml\n(.*?)```", CLOUD, re.S))
def test_its_examples_are_policies(example: str) -> None:
    written = yaml.safe_load(example)["spec"]
    spec = PolicySpec.model_validate(written)
    assert spec.model_dump(mode="json", by_alias=True, exclude_unset=True) == written
    assert policy_entry("default", spec).providers


def test_each_cloud_in_its_table_can_be_written_down() -> None:
    rows = re.findall(r"^\| [^|]+ \| `(https://[^`]+)`", CLOUD.partition("## Clouds")[2], re.M)
    assert len(rows) >= 8
    for url in rows:
        model = {"name": "m"}
        provider = {"name": "p", "baseURL": url, "models": [model]}
        PolicySpec.model_validate({"providers": [provider], "primary": [{"provider": "p", "model": "m"}]})


def test_it_lists_every_code_of_a_failed_try_and_no_other() -> None:
    source = "".join(path.read_text() for path in (REPO / "operator/forebay/router/cloud").glob("*.py"))
    raised = set(re.findall(r'(?:FailedError\(|_broken\(|word = .*)"([A-Z][A-Za-z]+)"', source))
    raised |= set(re.findall(r'"(Stalled|NoFirstToken|ErrorInStream|Paused|BreakerOpen|ClientGone)"', source))
    raised |= {"LimitMaxConcurrentRequests", "LimitRequestsPerMinute", "LimitTokensPerMinute"}
    table = CLOUD.partition("| code | |")[2].partition("## Money")[0]
    assert set(re.findall(r"`([A-Z][A-Za-z]+)`", table)) == raised


def test_its_metrics_exist() -> None:
    there = {family.name for family in metrics.REGISTRY.collect()}
    for name in re.findall(r"`((?:gen_ai_client|forebay)_[a-z_]+)[`{]", CLOUD):
        assert name.removesuffix("_total") in there, name


def test_the_values_that_mean_off_are_as_it_says() -> None:
    row = next(line for line in CLOUD.splitlines() if 'means "off"' in line)
    for name, value in re.findall(r"`(\w+): ([^`]+)`", row):
        assert yaml.safe_load(value) in OFF[name]


def test_scarce_gpus_names_what_exists() -> None:
    page = (REPO / "docs" / "scarce-gpus.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.S)
    Scaling.model_validate(yaml.safe_load(example)["scaling"])
    known = {
        word.value for kind in (EventReason, ScaleReason, ConditionReason, ConditionType, WakeAfter) for word in kind
    }
    known |= {"LocalModelPool", "StatefulSet", "False"}
    assert set(re.findall(r"`([A-Z][A-Za-z]+)`", page)) <= known


def test_operations_names_the_versions_of_engines_that_are_supported() -> None:
    page, supported = (REPO / "docs" / "operations.md").read_text(), VLLM.supported
    minor = supported.newest.rpartition(".")[0]
    assert f"Supported are vLLM {supported}, and later patch releases of {minor}" in page


def test_tools_are_told_of_and_each_example_that_serves_a_chat_model_has_its_parser() -> None:
    page = (REPO / "docs" / "operations.md").read_text()
    for example in (REPO / "examples" / "vllm").glob("*.yaml"):
        for document in yaml.safe_load_all(example.read_text()):
            if document["kind"] == "LocalModelPool":
                args = document["spec"]["engine"]["args"]
                assert "--enable-auto-tool-choice" in args, example
                assert args[args.index("--tool-call-parser") + 1] in page
