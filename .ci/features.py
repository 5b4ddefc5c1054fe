#!/usr/bin/env python3
"""Holds what `cargo deny` cannot: features that must stay off, crates that must stay out, and the
lowest versions without a known hole.

A feature switched on by some other crate is otherwise invisible, and the advisory database cannot
be fetched in CI. Reads `cargo metadata` (what is resolved, with features) and `cargo tree` (what
is really built: the lock file names optional crates that never are).
"""

import json
import subprocess
import sys

TARGETS = ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu")

# crate -> features that must be off, and why.
FORBIDDEN_FEATURES = {
    "actix-web": (("compress-brotli", "compress-gzip", "compress-zstd", "__compress", "http2"),
                  "compressed bodies exhaust memory before the limits; h2 0.3 has an unfixed flood"),
    "actix-http": (("compress-brotli", "compress-gzip", "compress-zstd", "__compress", "http2"),
                   "as actix-web"),
    "reqwest": (("gzip", "brotli", "zstd", "deflate", "cookies", "default-tls", "native-tls"),
                "answers are small and ours; rustls only"),
    "lettre": (("native-tls", "tokio1-native-tls", "boring-tls"), "rustls only"),
    "prometheus": (("protobuf",), "RUSTSEC-2024-0437"),
    "rustls": (("ring",), "one TLS provider: aws-lc-rs"),
    "jsonschema": (("resolve-http", "resolve-file"), "no $ref over http or files"),
}

# Crates that must not be built at all.
FORBIDDEN_CRATES = {
    "openssl-sys": "rustls only", "native-tls": "rustls only", "ring": "one TLS provider",
    "boring": "one TLS provider", "protobuf": "RUSTSEC-2024-0437",
    "brotli": "no compressed bodies", "zstd-sys": "no compressed bodies",
    "bincode": "unmaintained", "rustls-pemfile": "unmaintained", "backoff": "unmaintained",
    "instant": "unmaintained", "opentelemetry-jaeger": "unmaintained",
    "opentelemetry_api": "unmaintained",
}

# crate -> lowest versions, one per release line that may be in use; checked where it is built.
MINIMUM = {
    "actix-web": "4.18.1", "actix-http": "3.20.0", "rustls": "0.23.46", "rustls-webpki": "0.103.16",
    "webpki-root-certs": "1.0.10", "lettre": "0.11.23", "h2": "0.4.16",
    "opentelemetry_sdk": "0.32.1", "hickory-resolver": "0.26.3", "hickory-proto": "0.26.3",
    "tracing-subscriber": "0.3.20", "time": "0.3.47", "bytes": "1.11.1", "lz4_flex": "0.11.6",
    "idna": "1.0.0", "url": "2.5.4", "rand": "0.9.3", "lru": "0.18.2", "anyhow": "1.0.103",
    "crossbeam-channel": "0.5.15", "tonic": "0.12.3", "apache-avro": "0.22.0",
}


def number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("-")[0].split("+")[0].split("."))


def built() -> set[tuple[str, str]]:
    """(name, version) of every crate that a build of the workspace really compiles."""
    crates = set()
    for target in TARGETS:
        text = subprocess.run(
            ["cargo", "tree", "--workspace", "--locked", "--edges", "normal,build", "--prefix", "none",
             "--target", target, "--format", "{p}"],
            check=True, capture_output=True, text=True).stdout
        for line in text.splitlines():
            words = line.split()
            if len(words) >= 2:
                crates.add((words[0], words[1].removeprefix("v")))
    return crates


def problems_of(metadata: dict, crates: set[tuple[str, str]]) -> list[str]:
    problems = []
    names = {package["id"]: (package["name"], package["version"]) for package in metadata["packages"]}
    for node in metadata["resolve"]["nodes"]:
        name, version = names[node["id"]]
        if (name, version) not in crates:
            continue
        features, reason = FORBIDDEN_FEATURES.get(name, ((), ""))
        for feature in sorted(set(features) & set(node["features"])):
            problems.append(f"{name} {version}: feature {feature} is on ({reason})")
    for name, version in sorted(crates):
        if name in FORBIDDEN_CRATES:
            problems.append(f"{name} {version} is built ({FORBIDDEN_CRATES[name]})")
        if name in MINIMUM and number(version) < number(MINIMUM[name]):
            problems.append(f"{name} {version} is older than {MINIMUM[name]}")
    return problems


def self_test() -> None:
    """The checks must be able to fail."""
    metadata = {
        "packages": [{"id": "a", "name": "actix-web", "version": "4.18.1"}],
        "resolve": {"nodes": [{"id": "a", "features": ["macros", "compress-gzip"]}]},
    }
    found = problems_of(metadata, {("actix-web", "4.18.1"), ("ring", "0.17.14"), ("bytes", "1.9.0")})
    assert len(found) == 3, found
    assert not problems_of(metadata, {("bytes", "1.11.1")})


def main() -> int:
    self_test()
    metadata = json.loads(subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--locked"],
        check=True, capture_output=True, text=True).stdout)
    crates = built()
    problems = problems_of(metadata, crates)
    for problem in problems:
        print(problem)
    print(f"{len(crates)} crates built: {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
