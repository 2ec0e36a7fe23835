"""Checks the manifests on standard input against Kubernetes' own schemas, strictly, and prints them as a list in JSON."""

import json
import sys

import kubernetes_validate
import yaml

manifests = [it for it in yaml.safe_load_all(sys.stdin) if it]
for manifest in manifests:
    for version in sys.argv[1:]:
        kubernetes_validate.validate(manifest, version, strict=True)
json.dump(manifests, sys.stdout)
