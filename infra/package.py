"""Write what StackSets, pipelines and Terraform deploy: build/package/template.json and the zips that it refers to.

The template is the one of `sam deploy` after SAM's transform, so deploying it needs no macro. Each zip has the
digest of its content in its key: a template never refers to another content than it was written for.
"""

import argparse
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import boto3
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

INFRA = Path(__file__).resolve().parent
TEMPLATE = INFRA / "template.yaml"

PACKAGE_BUCKET = {"Type": "String", "Description": "The bucket of this region with the zips that `make package` wrote."}


def main() -> None:
    """The command line: `python infra/package.py [--built build]`, after infra/build.py."""
    parser = argparse.ArgumentParser(description="Write the packaged template and its zips.")
    parser.add_argument("--built", type=Path, default=INFRA.parent / "build")
    built = parser.parse_args().built
    print(package(built, built / "package"))


def package(built: Path, out: Path) -> Path:
    """Write the zips of `built` and the template into `out`; the path of the template."""
    template = yaml_parse(TEMPLATE.read_text())
    template["Parameters"]["PackageBucket"] = PACKAGE_BUCKET
    shutil.rmtree(out, ignore_errors=True)
    for resource in template["Resources"].values():
        for field in ("CodeUri", "ContentUri"):
            if field in resource["Properties"]:
                key = _copied(built / Path(resource["Properties"][field]).name, out)
                resource["Properties"][field] = {"Bucket": {"Ref": "PackageBucket"}, "Key": key}
    # A region is asked for, and of what differs between regions the template has nothing.
    translator = Translator({}, Parser(), boto_session=boto3.Session(region_name="us-east-1"))
    translated: dict[str, Any] = translator.translate(template, {}, {})
    (out / "template.json").write_text(json.dumps(translated, indent=1, sort_keys=True) + "\n")
    return out / "template.json"


def _copied(zipped: Path, out: Path) -> str:
    """The key of a zip, below which it is in `out`."""
    if not zipped.exists():
        raise SystemExit(f"{zipped} is not there: run `make build` first")
    key = f"pointsman/{hashlib.sha256(zipped.read_bytes()).hexdigest()[:16]}/{zipped.name}"
    (out / key).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(zipped, out / key)
    return key


if __name__ == "__main__":
    main()
