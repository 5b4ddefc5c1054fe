"""The OpenAPI document of the running broker against the specification's own validator, and its page."""

import requests
from openapi_spec_validator import OpenAPIV31SpecValidator

from checks import Checks, equal, expect
from house import Ams


def run(checks: Checks, ams: Ams) -> None:
    session = requests.Session()
    session.trust_env, session.verify = False, ams.ca
    with checks.check("openapi: the document is OpenAPI 3.1, served without a token"):
        answer = session.get(f"{ams.https}/openapi.json", timeout=10)
        equal(answer.status_code, 200, answer.text[:300])
        equal(answer.headers["content-type"], "application/json; charset=utf-8")
        document = answer.json()
        equal(document["openapi"], "3.1.0")
        faults = [f"{'/'.join(map(str, fault.absolute_path))}: {fault.message[:300]}"
                  for fault in OpenAPIV31SpecValidator(document).iter_errors()]
        equal(faults, [], "faults")
        checks.figure("openapi.json, bytes", len(answer.content))
        checks.figure("operations", sum(len(item) for item in document["paths"].values()))
    with checks.check("openapi: the page for people runs and fetches nothing"):
        answer = session.get(f"{ams.https}/docs", timeout=10)
        equal((answer.status_code, answer.headers["content-type"]), (200, "text/html; charset=utf-8"))
        expect("default-src 'none'" in answer.headers["content-security-policy"], answer.headers)
        expect("<script" not in answer.text and "https://" not in answer.text, "a script or a foreign address")
