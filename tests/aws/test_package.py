"""What `make package` writes is plain CloudFormation, and refers to the zips beside it."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

from cfnlint.api import lint

from tests.fleet.process import REPOSITORY

ZIPS = ("layer", "configure", "discovery", "ingest", "reconcile")


def load_package() -> ModuleType:
    spec = importlib.util.spec_from_file_location("infra_package", REPOSITORY / "infra/package.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def packaged(folder: Path, **contents: str) -> dict[str, Any]:
    """The template that is packaged of zips with such contents."""
    for name in ZIPS:
        (folder / f"{name}.zip").write_text(contents.get(name, name))
    written: Path = load_package().package(folder, folder / "package")
    template: dict[str, Any] = json.loads(written.read_text())
    return template


def test_the_packaged_template_is_plain_cloudformation_and_finds_its_zips(tmp_path: Path) -> None:
    template = packaged(tmp_path)
    assert "Transform" not in template
    assert not [each["Type"] for each in template["Resources"].values() if "Serverless" in each["Type"]]
    found = lint(json.dumps(template), regions=["us-east-1"])
    assert [str(each) for each in found if each.rule.severity == "error"] == []
    assert "Default" not in template["Parameters"]["PackageBucket"], "no bucket is everybody's"
    keys = set()
    for resource in template["Resources"].values():
        code = resource["Properties"].get("Code") or resource["Properties"].get("Content")
        if isinstance(code, dict) and "S3Key" in code:
            assert code["S3Bucket"] == {"Ref": "PackageBucket"}
            keys.add(code["S3Key"])
    assert len(keys) == len(ZIPS)
    assert {str(path.relative_to(tmp_path / "package")) for path in (tmp_path / "package").rglob("*.zip")} == keys


def test_another_content_is_another_key_and_another_version(tmp_path: Path) -> None:
    def versions(template: dict[str, Any]) -> set[str]:
        return {name for name, each in template["Resources"].items() if each["Type"] == "AWS::Lambda::Version"}

    first, again = packaged(tmp_path), packaged(tmp_path)
    assert first == again
    after = packaged(tmp_path, ingest="another")
    assert len(versions(first) - versions(after)) == 1
    assert len(versions(first) - versions(packaged(tmp_path, layer="another"))) == 4
